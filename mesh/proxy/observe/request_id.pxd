from mesh.proxy.observe.digits cimport Digits

cdef dict _VARIANTS

cpdef bytes make_request_id(Digits digits)
