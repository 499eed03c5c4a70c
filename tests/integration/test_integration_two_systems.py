"""Two association systems on the same people: commands as the pages give them, then one beside the other."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def extract_commands(page: str) -> str:
    """The block of commands that a page promises to take seconds."""
    text = (DOCS / page).read_text()
    block = text.split("A smoke test (seconds)", 1)[1].split("\n\n", 2)[1]
    commands = re.sub(r"^    ", "", block, flags=re.MULTILINE)
    assert commands.startswith("voiceface population")
    return commands


def run_shell(commands: str, folder: Path) -> subprocess.CompletedProcess:
    """Run commands as a user's shell would; the first that fails ends it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = subprocess.run(
        ["bash", "-ec", commands],
        cwd=folder,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the flows of both pages were run on one population."""
    folder = tmp_path_factory.mktemp("flows")
    for page in ("seeking_shape", "archetype_agnostic"):
        run_shell(extract_commands(f"{page}.md"), folder)
        (folder / "runs").rename(folder / page)
    return folder


def test_both_flows_end_in_results_of_all_lists(worked: Path) -> None:
    for system in ("seeking_shape", "archetype_agnostic"):
        lines = (worked / system / "test" / "results.txt").read_text().splitlines()
        assert len(lines) == 10 and all(0 <= float(line.split()[1]) <= 1 for line in lines)
        assert (worked / system / "test" / "report.html").stat().st_size > 10_000


def test_the_comparison_shows_both_on_the_same_lists(worked: Path) -> None:
    systems = "seeking_shape=seeking_shape/test archetype_agnostic=archetype_agnostic/test"
    said = run_shell(f"voiceface compare {systems} --data tiny --out both.html", worked).stdout
    assert "seeking_shape" in said and "archetype_agnostic" in said
    page = (worked / "both.html").read_text()
    assert page.count("archetype_agnostic") > 5 and "match_v2f_2_test" in page
    assert json.loads((worked / "both.json").read_text())


def test_recordings_below_face_names_do_for_training_and_test(worked: Path) -> None:
    data = worked / "by_name"
    shutil.copytree(worked / "tiny", data)
    rows = (data / "vox1_meta.csv").read_text().splitlines()[1:]
    for voice, face in (row.split("\t")[:2] for row in rows):
        (data / "wav" / voice).rename(data / "wav" / face)
    shutil.rmtree(data / "list_wav")
    small = re.search(r'SMALL="(.*?)"', extract_commands("archetype_agnostic.md"), re.DOTALL)
    assert small
    words = f"--data by_name --voice-folder vggface1_id {' '.join(small[1].split())} training.max_steps=2"
    run_shell(f"archetype_agnostic train --cfg main --out named {words}", worked)
    words = "--data by_name --voice-folder vggface1_id --generate-lists 1 --out named_test"
    said = run_shell(f"archetype_agnostic test --weights named {words}", worked).stdout
    assert "retrieval_f2v_test" in said
    results = json.loads((worked / "named_test" / "results.json").read_text())
    assert len(results["lists"]) == 10
