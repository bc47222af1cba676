"""How several processes share the tests, with pytest-xdist: file by file."""

from xdist.scheduler import LoadFileScheduling


class ByFile(LoadFileScheduling):
    """The tests of a file stay together, since they share what is dear; so do those of all files of a group.

    Files are handed out in the order in which they are found: how many tests they hold says nothing about time.
    """

    def __init__(self, config, log, *groups):
        config.option.loadscopereorder = False
        super().__init__(config, log)
        self._groups = groups

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return next((group[0] for group in self._groups if file in group), file)
