"""multiprom is imported while a program's tests have prometheus_client mocked, as LiteLLM's do."""

from support.interpreters import run


def test_a_mock_stays_a_mock_and_goes_when_its_patch_ends() -> None:
    printed = run("""
        import os, tempfile
        from unittest import mock
        import prometheus_client.multiprocess

        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()
        with mock.patch("prometheus_client.multiprocess.mark_process_dead") as mark, \\
             mock.patch("prometheus_client.exposition.generate_latest") as text:
            import multiprom
            multiprom.install()
            prometheus_client.multiprocess.mark_process_dead(7)
            mark.assert_called_once_with(7)
            assert prometheus_client.exposition.generate_latest is text
        multiprom.install()
        assert prometheus_client.multiprocess.mark_process_dead is multiprom.mark_process_dead
        assert prometheus_client.exposition.generate_latest is multiprom.generate_latest
        multiprom.uninstall()
        assert "multiprom" not in prometheus_client.multiprocess.mark_process_dead.__module__
        assert "multiprom" not in prometheus_client.exposition.generate_latest.__module__
        print("all right")
    """)
    assert printed.strip() == "all right"
