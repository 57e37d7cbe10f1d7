from mesh.proxy.compiled_route cimport CompiledRoute

cdef class RouteIndex:
    cdef tuple _routes
    cdef dict _exact, _prefixes
    cdef list _rest, _lengths

    cpdef CompiledRoute find(self, head)
