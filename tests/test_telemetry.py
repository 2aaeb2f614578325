"""Spans and counts as an application with OpenTelemetry's SDK sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.prepared import Prepared, run_script

_CODE = """
import sys
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))

from pathlib import Path
from latechunk_integrations.bulk import index
from latechunk_integrations.bulk.rows import CorpusDocument
from tests.bulk import support

folder, model = map(Path, sys.argv[1:])
corpus = [*support.documents(3), CorpusDocument("secret-id", " ")]
summary = index(corpus, str(folder / "rows.jsonl"), support.options(model), folder / "c",
                support.settings(batch_documents=4))
names = [span.name for span in spans.get_finished_spans()]
assert names.count("latechunk.index") == 1, names
assert names.count("latechunk.index.write") == 1, names
counted = {}
for resource in reader.get_metrics_data().resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            for point in metric.data.data_points:
                key = (metric.name, *sorted(point.attributes.values()))
                counted[key] = point.value
assert counted["latechunk.index.documents", "written"] == 3, counted
assert counted["latechunk.index.documents", "EmptyTextError"] == 1, counted
assert counted["latechunk.index.chunks",] == summary.n_chunks, counted
assert counted["latechunk.parents", "embedded", "local"] == 3, counted
assert "secret-id" not in str(counted)
assert "secret-id" not in str([span.to_json() for span in spans.get_finished_spans()])
print("seen")
"""

_WITHOUT = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
from latechunk_integrations.telemetry import count_event, trace_span
with trace_span("a", n=1):
    count_event("b", 2, kind="c")
print("nothing")
"""


@pytest.mark.slow
def test_an_application_sees_spans_and_counts_without_texts_or_ids(
    tmp_path: Path, tiny_model_path: Path
) -> None:
    script = tmp_path / "application.py"
    script.write_text(_CODE, encoding="utf-8")
    arguments = (str(tmp_path), str(tiny_model_path))
    finished = Prepared(tmp_path, run_script, script, *arguments).finish()
    assert finished.stdout.strip() == "seen", finished.stderr


def test_without_opentelemetry_nothing_happens() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", _WITHOUT], capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "nothing"
