"""The page of `snakemake --report`, clicked through in a real browser without network."""

import html
import json
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from dag.house import ROOT

pytestmark = pytest.mark.dag

CHROMIUM = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1400,1000",
    "--virtual-time-budget=120000", "--dump-dom",
]  # fmt: skip

# a reader who opens every category, every file and its caption; what was seen replaces the page
READER = """<script>{
const seen = {errors: [], fetched: [], first: "", categories: {}};
const one = query => document.querySelector(query);
const all = query => [...document.querySelectorAll(query)];
const names = () => all("nav a").map(link => link.textContent.trim());
const rest = () => new Promise(done => setTimeout(done, 200));
const click = link => { link.click(); return rest(); };
const follow = name => click(all("nav a").find(link => link.textContent.trim() === name));
async function open(row) {
    const [eye, about] = row.querySelectorAll("a");
    const labels = [...row.cells].map(cell => cell.textContent).filter(text => text);
    await click(eye);
    const image = one("nav + div img"), page = one("nav + div iframe");
    while (image && !image.complete) await rest();
    const size = image ? image.naturalWidth : page.src.length;
    await click(about);
    return {path: app.state.resultPath, labels, size, caption: one("nav .prose").innerHTML};
}
async function read() {
    await rest();
    seen.first = one("nav + div .prose").textContent;
    for (const category of names().filter(name => /^[0-9]/.test(name))) {
        const files = seen.categories[category] = [];
        await follow(category);
        for (let i = 0; i < all("nav tbody tr").length; i++) {
            files.push(await open(all("nav tbody tr")[i]));
            await follow(category);
        }
        await follow("Results");
    }
    seen.fetched = performance.getEntriesByType("resource").map(entry => entry.name);
}
addEventListener("error", event => seen.errors.push(event.message || event.target.src), true);
addEventListener("load", () => read().catch(error => seen.errors.push(error.stack)).finally(() => {
    document.documentElement.innerHTML = "<pre></pre>";
    one("pre").textContent = JSON.stringify(seen);
}));
}</script>"""

ORDER = {
    "1 What it costs": ["trade_off", "degradation_reduction"],
    "2 Tables": ["headline", "main", "seeds"],
    "3 Over scale and N": ["toxicity", "perplexity"],
    "4 Parameters": ["parameter_change", "almost_unchanged"],
    "5 Shards": ["training_loss", "shard_cosines", "shard_snr", "shard_subsets"],
}


@pytest.fixture(scope="module")
def seen(finished, tmp_path_factory):
    """What a reader of the toy study's report saw: see READER."""
    if not CHROMIUM:
        warnings.warn("THE REPORT IS NOT OPENED: apt-get install chromium", stacklevel=1)
        pytest.skip("no browser found: apt-get install chromium")
    folder = tmp_path_factory.mktemp("report")
    page = folder / "report.html"
    finished.copy(folder / "house").run("--report", str(page))
    page.write_text(page.read_text().replace("<head>", f"<head>{READER}", 1))
    done = subprocess.run(
        [CHROMIUM, *OPTIONS, f"--user-data-dir={folder}/browser", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = re.search("<pre>({.*})</pre>", done.stdout, re.S)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


def files(seen):
    """(subject, what was seen of its file), in the order of the page."""
    found = [file for category in seen["categories"].values() for file in category]
    return [(Path(file["path"]).stem.removesuffix("-pico"), file) for file in found]


def test_page_needs_no_network_and_makes_no_error(seen):
    assert seen["errors"] == []
    assert seen["fetched"] == []


def test_first_page_says_what_was_done(seen):
    assert "N = 1 is the single task" in seen["first"]
    assert "Models: pico" in seen["first"]


def test_categories_and_titles_stand_in_reading_order(seen):
    assert list(seen["categories"]) == list(ORDER)
    assert [subject for subject, _ in files(seen)] == [one for of in ORDER.values() for one in of]
    numbers = [file["labels"][0].split()[0] for _, file in files(seen)]
    assert numbers == [f"{name[0]}.{i + 1}" for name in ORDER for i in range(len(ORDER[name]))]


def test_every_figure_and_table_shows(seen, finished):
    made = [*finished.results.glob("figures/*.png"), *finished.results.glob("tables/*.html")]
    shown = {file["path"]: file["size"] for _, file in files(seen)}
    assert sorted(shown) == sorted(str(file.relative_to(finished.folder)) for file in made)
    assert min(shown.values()) > 500  # pixels, or letters of the page


def test_captions_are_those_of_the_files(seen):
    for subject, file in files(seen):
        source = (ROOT / f"workflow/report/{subject}.rst").read_text()
        source = source.replace("{{ snakemake.wildcards.model }}", "pico").replace("``", "")
        source = re.sub('{{ "%g".*?}}', "95", source)
        caption = html.unescape(re.sub("<[^>]*>", "", file["caption"]))
        assert caption.split() == source.split()
