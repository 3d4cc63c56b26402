"""What of the GPU checks can be tested without a GPU: that they refuse, and that they read pytest's report."""

from benchmarks import gpu_checks
from models.engines.options import EngineOptions
from models.engines.registry import InstalledEngine


def test_without_a_gpu_the_checks_fail_and_say_why(monkeypatch, capsys):
    tried = [
        InstalledEngine(EngineOptions(), True, "onnxruntime 1.20"),
        InstalledEngine(EngineOptions(device="cuda"), False, "there is none"),
    ]
    monkeypatch.setattr(gpu_checks, "installed_engines", lambda: tried)
    assert gpu_checks.main([]) == 1
    assert capsys.readouterr().err == "onnxruntime on cuda, fp32: there is none\n"


def test_tests_are_counted_and_failures_named(tmp_path):
    module = tmp_path / "test_sample.py"
    module.write_text(
        "import pytest\n"
        "def test_right(): pass\n"
        "def test_wrong(): assert False\n"
        "def test_elsewhere(): pytest.skip('not here')\n"
    )
    assert gpu_checks.run_tests([str(module), "-p", "no:cacheprovider"]) == {
        "exit_code": 1,
        "n_passed": 1,
        "failed": ["test_wrong"],
        "skipped": ["test_elsewhere"],
    }
