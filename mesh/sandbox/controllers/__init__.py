"""The controllers of a sandbox: each is a pure plan (objects → actions) and one shell that all share.

    queue        reconciles one object at a time when something about it changes, never by polling
    plan         the actions a plan consists of;  shell carries them out
    deployment replicaset statefulset daemonset job cronjob endpoints garbage namespaces loadbalancer    the plans
"""
