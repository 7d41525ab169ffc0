# Two processors.
run two-vcpus cpus --vcpus 2
