"""placeholder"""
from mesh.sandbox.node.context import NodeContext
import trio
class KubeletServer:
    def __init__(self, context, workers): pass
    async def run(self, pki, task_status=trio.TASK_STATUS_IGNORED):
        task_status.started()
