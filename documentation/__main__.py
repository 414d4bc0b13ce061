"""Write every file under docs/ that is generated from the code: `python -m documentation`."""

from documentation.generated import GENERATED, REPOSITORY

if __name__ == "__main__":
    for place, make in GENERATED.items():
        (REPOSITORY / place).write_text(make(), encoding="utf-8")
