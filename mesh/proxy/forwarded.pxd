from mesh.proxy.observe.record cimport Record

cpdef tuple forwarded_lines(Record record, object manager)
