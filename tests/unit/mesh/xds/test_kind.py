from mesh.xds.kind import BY_URL, PUSH_ORDER, Kind


def test_labels_are_istios_short_names():
    assert [kind.label for kind in PUSH_ORDER] == ["cds", "eds", "lds", "rds", "sds"]


def test_only_clusters_and_listeners_are_told_whole():
    assert {kind for kind in Kind if kind.is_full_state} == {Kind.CLUSTER, Kind.LISTENER}


def test_every_type_url_names_a_known_message():
    from mesh.xds.decode import message_class

    for url, kind in BY_URL.items():
        assert url == "type.googleapis.com/" + message_class(kind).DESCRIPTOR.full_name
