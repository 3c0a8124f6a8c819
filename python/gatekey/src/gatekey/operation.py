"""Operations in two forms: called they wait for the answer, and `.aio(...)` is awaited.

Types are in `operation.pyi`: what they need would be imported at every start of Python.
"""

from __future__ import annotations


class Pending:
    """A call under way, and what its answer becomes."""

    __slots__ = ("_call", "_convert")

    def __init__(self, call, convert):
        self._call = call
        self._convert = convert

    def wait(self):
        return self._convert(self._call.wait())

    async def answer(self):
        # Here, not above: to import asyncio takes longer than a whole call.
        from gatekey import event_loop

        try:
            await event_loop.done(self._call)
        finally:
            # Of use only when the awaiting task was cancelled.
            self._call.cancel()
        return self._convert(self._call.result())


class _Bound:
    """An operation of one class."""

    def __init__(self, start, owner):
        self._start = start
        self._owner = owner
        self.__name__ = start.__name__
        self.__qualname__ = start.__qualname__
        self.__doc__ = start.__doc__

    @property
    def __signature__(self):
        import inspect

        signature = inspect.signature(self._start)
        # Without the class, and without what is pending, which nobody sees.
        parameters = list(signature.parameters.values())[1:]
        return signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)

    def __repr__(self):
        return f"<operation {self.__qualname__}>"

    def __eq__(self, other):
        return type(other) is type(self) and (self._start, self._owner) == (other._start, other._owner)

    def __hash__(self):
        return hash((self._start, self._owner))

    def __reduce__(self):
        return getattr, (self._owner, self.__name__)


class BoundOperation(_Bound):
    def __call__(self, *args, **kwargs):
        return self._start(self._owner, *args, **kwargs).wait()

    async def aio(self, *args, **kwargs):
        return await self._start(self._owner, *args, **kwargs).answer()


class BoundListing(_Bound):
    # Wrong arguments are refused here; only what asks the server is a generator, and waits for the first item.
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


class _Unbound:
    """Found on a class, it is bound to it, as a class method is."""

    def __init__(self, start):
        self._start = start
        self.__doc__ = start.__doc__


class Operation(_Unbound):
    def __get__(self, instance, owner):
        return BoundOperation(self._start, owner)


class Listing(_Unbound):
    def __get__(self, instance, owner):
        return BoundListing(self._start, owner)


def operation(method):
    """Makes an operation of a class method that starts a call."""
    return Operation(method.__func__)


def listing(method):
    """Makes an operation of a class method that gives a function, which starts the next page."""
    return Listing(method.__func__)
