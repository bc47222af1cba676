"""How several processes share the tests, with pytest-xdist: file by file."""

from xdist.scheduler import LoadFileScheduling


class ByFile(LoadFileScheduling):
    """The tests of a file stay together, since they share what is dear; so do those of all files that are named.

    Files are handed out in the order in which they are found: how many tests they hold says nothing about time.
    """

    def __init__(self, config, log, together):
        config.option.loadscopereorder = False
        super().__init__(config, log)
        self._together = together

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return "together" if file in self._together else file
