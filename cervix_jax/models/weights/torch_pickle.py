"""The pickles in PyTorch's files, read without executing their code.

`torch.save` writes a pickle, and unpickling executes any code that the file names. Here the
pickle's opcodes are interpreted by a machine that can build containers, numbers, strings and
descriptions of tensors only; a file that requires anything else is rejected with the name of the
required object.
"""

import dataclasses
import pickletools
from collections.abc import Callable, Iterator
from typing import IO, Any

import ml_dtypes
import numpy as np

from cervix_jax.errors import InputError

STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


@dataclasses.dataclass(frozen=True)
class Storage:
    """A flat array in the file: its key there, element type and number of elements."""

    key: str
    dtype: np.dtype
    count: int


@dataclasses.dataclass(frozen=True)
class TensorView:
    """A tensor as the file describes it: a view of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, data: bytes | memoryview) -> np.ndarray:
        """Return the tensor as a read-only view of the bytes of its storage.

        Raises:
          ValueError: the tensor extends beyond its storage.
        """
        dtype = self.storage.dtype
        strides = tuple(stride * dtype.itemsize for stride in self.strides)
        # NumPy checks that offset, shape and strides stay within the buffer.
        return np.ndarray(self.shape, dtype, data, self.offset * dtype.itemsize, strides)


class _Mark:
    """Marks the beginning of a list of items on the stack."""


_MARK = _Mark()


@dataclasses.dataclass(frozen=True)
class _Global:
    """An importable object that the file names; it is never imported."""

    name: str


def interpret(file: IO[bytes], storages: dict[str, Storage] | None = None) -> Any:
    """Build one pickled object from `file`, which is left positioned after its end.

    Args:
      file: a binary file at the start of a pickle.
      storages: receives every storage in the pickle, by key.

    Returns:
      Dicts, lists, tuples, strings and numbers, with `TensorView` for tensors.

    Raises:
      InputError: the pickle requires code, or an opcode that `torch.save` does not write.
      ValueError, IndexError and others: the pickle is damaged.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    # The argument has the type of its opcode, which Python's type hints leave open.
    operations: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]] = pickletools.genops(file)
    for opcode, argument, _ in operations:
        name = opcode.name
        if name in _PUSHES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in _ACTIONS:
            _ACTIONS[name](stack)
            if name == "BINPERSID" and storages is not None:
                storages[stack[-1].key] = stack[-1]
        elif name == "GLOBAL":
            stack.append(_allowed(*argument.split(" ", 1)))
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise InputError(
                f"its pickle has the opcode {name}, which torch.save does not write; "
                "save model.state_dict() with torch.save."
            )
    raise ValueError("its pickle has no end")


def _allowed(module: str, name: str) -> _Global:
    full = f"{module}.{name}"
    if full not in _BUILDERS and not _storage_type(full):
        raise InputError(
            f"it refers to the Python object {full}, which could run code and is refused; "
            "save only model.state_dict() with torch.save."
        )
    return _Global(full)


def _storage_type(full: str) -> Any:
    module, _, name = full.rpartition(".")
    return STORAGES.get(name) if module in ("torch", "torch.cuda") else None


def _rebuild_tensor(storage: Storage, offset: int, shape: tuple, strides: tuple, *_: Any):
    # After the strides come requires_grad, hooks and metadata, which do not affect the numbers.
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without storage")
    return TensorView(storage, offset, tuple(shape), tuple(strides))


_BUILDERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": lambda *items: dict(*items),
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch.Size": lambda sizes=(): tuple(sizes),
}


def _persistent(stack: list[Any]) -> None:
    kind, storage_type, key, _, count, *view = stack.pop()
    dtype = isinstance(storage_type, _Global) and _storage_type(storage_type.name)
    if kind != "storage" or not dtype or (view and view[0] is not None):
        raise ValueError("a tensor's storage is of an unknown kind")
    stack.append(Storage(str(key), np.dtype(dtype), int(count)))


def _reduce(stack: list[Any]) -> None:
    arguments, function = stack.pop(), stack.pop()
    if not isinstance(function, _Global) or function.name not in _BUILDERS:
        raise InputError(
            "it calls something other than a tensor's or dict's constructor, which is refused; "
            "save only model.state_dict() with torch.save."
        )
    stack.append(_BUILDERS[function.name](*arguments))


def _build(stack: list[Any]) -> None:
    # The state of an OrderedDict: the versions of modules that torch stores beside a state dict.
    stack.pop()
    if not isinstance(stack[-1], dict):
        raise ValueError("state for something that has none")


def _stack_global(stack: list[Any]) -> None:
    name, module = stack.pop(), stack.pop()
    stack.append(_allowed(str(module), str(name)))


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    # From the top: from the bottom a malicious file could make each list cost the whole stack.
    start = next((n for n in reversed(range(len(stack))) if stack[n] is _MARK), None)
    if start is None:
        raise ValueError("a list that does not begin")
    items = stack[start + 1 :]
    del stack[start:]
    return items


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _set_items(stack: list[Any], pairs: dict[Any, Any]) -> None:
    if not isinstance(stack[-1], dict):
        raise ValueError("items for something that is not a dict")
    stack[-1].update(pairs)


def _append(stack: list[Any], items: list[Any]) -> None:
    if not isinstance(stack[-1], list):
        raise ValueError("items for something that is not a list")
    stack[-1].extend(items)


def _tuple(stack: list[Any], count: int) -> None:
    if len(stack) < count:
        raise ValueError("a tuple of too few items")
    stack[-count:] = [tuple(stack[-count:])]


_PUSHES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "SHORT_BINBYTES", "BINBYTES",
}  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_ACTIONS: dict[str, Callable[[list[Any]], object]] = {
    "POP": list.pop,
    "POP_MARK": _pop_to_mark,
    "TUPLE1": lambda stack: _tuple(stack, 1),
    "TUPLE2": lambda stack: _tuple(stack, 2),
    "TUPLE3": lambda stack: _tuple(stack, 3),
    "TUPLE": lambda stack: stack.append(tuple(_pop_to_mark(stack))),
    "LIST": lambda stack: stack.append(_pop_to_mark(stack)),
    "DICT": lambda stack: stack.append(_pairs(_pop_to_mark(stack))),
    "APPEND": lambda stack: _append(stack, [stack.pop()]),
    "APPENDS": lambda stack: _append(stack, _pop_to_mark(stack)),
    "SETITEM": lambda stack: _set_items(stack, _pairs([stack.pop(-2), stack.pop()])),
    "SETITEMS": lambda stack: _set_items(stack, _pairs(_pop_to_mark(stack))),
    "STACK_GLOBAL": _stack_global,
    "BINPERSID": _persistent,
    "REDUCE": _reduce,
    "BUILD": _build,
}
