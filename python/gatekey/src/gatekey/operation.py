"""Operations with two forms: a plain call blocks, and `.aio(...)` is awaited.

The types are in `operation.pyi`, so that their imports do not slow down the start of Python.
"""

from __future__ import annotations


class Pending:
    """A running call, and the conversion of its result."""

    __slots__ = ("_call", "_convert")

    def __init__(self, call, convert):
        self._call = call
        self._convert = convert

    def wait(self):
        return self._convert(self._call.wait())

    async def answer(self):
        # Imported here, because importing asyncio takes longer than a whole call.
        from gatekey import event_loop

        try:
            await event_loop.done(self._call)
        finally:
            # Has an effect only if the awaiting task was cancelled.
            self._call.cancel()
        return self._convert(self._call.result())


class _Bound:
    """An operation, bound to a class."""

    def __init__(self, start, owner):
        self._start = start
        self._owner = owner
        self.__name__ = start.__name__
        self.__qualname__ = start.__qualname__
        self.__module__ = start.__module__
        self.__doc__ = start.__doc__

    def __get__(self, instance, owner=None):
        # `help` shows parameters only for objects that have this method.
        return self

    @property
    def __signature__(self):
        import inspect

        signature = inspect.signature(self._start)
        # Without the class, and with the type that callers get instead of `Pending`.
        parameters = list(signature.parameters.values())[1:]
        return signature.replace(parameters=parameters, return_annotation=self._returned(signature.return_annotation))

    def __repr__(self):
        return f"<operation {self.__qualname__}{self.__signature__}>"

    def __eq__(self, other):
        return type(other) is type(self) and (self._start, self._owner) == (other._start, other._owner)

    def __hash__(self):
        return hash((self._start, self._owner))

    def __reduce__(self):
        return getattr, (self._owner, self.__name__)


class BoundOperation(_Bound):
    @staticmethod
    def _returned(annotation):
        return annotation.removeprefix("Pending[").removesuffix("]")

    def __call__(self, *args, **kwargs):
        return self._start(self._owner, *args, **kwargs).wait()

    async def aio(self, *args, **kwargs):
        return await self._start(self._owner, *args, **kwargs).answer()


class BoundListing(_Bound):
    @staticmethod
    def _returned(annotation):
        _, _, item = annotation.partition("list[")
        return f"Iterator[{item.partition(']')[0]}]"

    # Not a generator itself, so that it checks the arguments when it is called.
    def __call__(self, *args, **kwargs):
        return _items(self._start(self._owner, *args, **kwargs))

    def aio(self, *args, **kwargs):
        return _awaited_items(self._start(self._owner, *args, **kwargs))


def _items(next_page):
    while (page := next_page().wait()) is not None:
        yield from page


async def _awaited_items(next_page):
    while (page := await next_page().answer()) is not None:
        for item in page:
            yield item


# A `classmethod`, so that `help` lists operations among the class methods.
class _Unbound(classmethod):
    """A descriptor that binds to the class, as a class method does."""

    def __init__(self, start):
        super().__init__(start)
        self._start = start
        self.__doc__ = start.__doc__


class Operation(_Unbound):
    def __get__(self, instance, owner=None):
        return BoundOperation(self._start, type(instance) if owner is None else owner)


class Listing(_Unbound):
    def __get__(self, instance, owner=None):
        return BoundListing(self._start, type(instance) if owner is None else owner)


def operation(method):
    """Decorates a class method that starts a call."""
    return Operation(method.__func__)


def listing(method):
    """Decorates a class method that returns a function to fetch the next page."""
    return Listing(method.__func__)
