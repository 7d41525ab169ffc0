# Two processors, both with something else to do.
x87 &
x87 &
run two-vcpus cpus --vcpus 2
killall x87
