from mesh.codec.h1.head cimport RequestHead
from mesh.proxy.clusters cimport ClusterRuntime
from mesh.proxy.compiled_route cimport CompiledRoute
from mesh.proxy.forwarding cimport Forwarding
from mesh.proxy.observe.record cimport Record
from mesh.proxy.seat cimport Seat

cpdef object decide(Seat down, RequestHead head)
cpdef object on_client_bytes(Seat down)
cpdef object begin_request(Seat down, bytes data)
