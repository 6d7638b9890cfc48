import subprocess
import sys


def test_evaluate_and_report_load_no_model_and_no_heavy_library() -> None:
    code = (
        "import sys, residency.evaluate.examine, residency.evaluate.measure, residency.evaluate.floors, "
        "residency.report.page, residency.report.card; "
        "print(sorted({'torch', 'transformers', 'sklearn', 'matplotlib', 'jinja2'} & set(sys.modules)), "
        "[name for name in sys.modules if name.startswith('residency.models')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
