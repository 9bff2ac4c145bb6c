"""Engines that answer the same question, each tuned by one knob."""

from collections.abc import Mapping

from benchmarks.contenders.contender import Contender
from benchmarks.contenders.lance import LanceDb
from benchmarks.contenders.libraries import BruteForce, Hnswlib, Kallos, RawFaiss, Usearch
from benchmarks.contenders.milvus import Milvus
from benchmarks.contenders.postgres import Pgvector

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
