"""Engines that answer the same question, each tuned by one knob."""

from collections.abc import Mapping

from service.bench.contenders.contender import Contender
from service.bench.contenders.lance import LanceDb
from service.bench.contenders.libraries import BruteForce, Hnswlib, Kallos, RawFaiss, Usearch
from service.bench.contenders.milvus import Milvus
from service.bench.contenders.postgres import Pgvector

# In this order: raw FAISS reads the file that Kallos built.
CONTENDERS: Mapping[str, type[Contender]] = {
    "kallos": Kallos,
    "faiss": RawFaiss,
    "numpy": BruteForce,
    "hnswlib": Hnswlib,
    "usearch": Usearch,
    "lancedb": LanceDb,
    "pgvector": Pgvector,
    "milvus": Milvus,
}
