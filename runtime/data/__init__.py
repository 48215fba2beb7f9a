"""Data: readers, the order of samples, and the input stage that prepares batches ahead of the step."""

from runtime.data import readers
from runtime.data.dataset import SOURCES

SOURCES.add("digits", readers.digits)
SOURCES.add("idx", readers.idx)
SOURCES.add("cifar10", readers.cifar10)
SOURCES.add("synthetic", readers.synthetic)
