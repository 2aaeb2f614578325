"""The conformance kit, for whoever writes an encoder, an adapter or a store.

    from latechunk_integrations.testing import check_encoder

    def test_my_encoder_conforms() -> None:
        check_encoder(MyEncoder.load(LateChunkOptions(model="...")))

`oracle.Oracle` is late chunking by its definition in float64, with nothing of this package; it
wants torch and is imported from its own module. `service_oracle.ServiceOracle` is the same for what
a service reads together.
"""

from latechunk_integrations.testing.adapter_checks import ADAPTER_CASES, check_adapter
from latechunk_integrations.testing.encoder_checks import check_encoder
from latechunk_integrations.testing.rules import ConformanceError
from latechunk_integrations.testing.store_checks import check_store

__all__ = ["ADAPTER_CASES", "ConformanceError", "check_adapter", "check_encoder", "check_store"]
