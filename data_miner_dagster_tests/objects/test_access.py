"""Test the settings with which the clients of Google's and Azure's buckets are opened. Nothing is requested."""

from data_miner_dagster.objects.access import Access, Patience, open_file_system

PATIENCE = Patience(timeout_seconds=1, min_bytes_per_second=1, tries=1, try_delay_seconds=0)


def test_google__asks_by_http_alone() -> None:
    fs = open_file_system("gs", Access(endpoint="http://127.0.0.1:9", is_anonymous=True), PATIENCE)
    assert not hasattr(fs, "_get_control_plane_client")  # gRPC ignores the endpoint
    assert fs.base == "http://127.0.0.1:9/storage/v1/"


def test_azure__asks_the_endpoint_as_it_is_written() -> None:
    endpoint = "http://127.0.0.1:9/account1"
    for access in (
        Access(endpoint=endpoint, account="account1", secret_key="AAAA"),
        Access(endpoint=endpoint, account="account1", token="sv=2020&sig=abc"),
    ):
        fs = open_file_system("az", access, PATIENCE)
        assert fs.service_client.primary_endpoint.partition("?")[0].rstrip("/") == endpoint
