//! The calls of the frame once it serves, as data: a device's profile is these and its own.

/// Name and reason of each call; which descriptors each may name is in the device's profile.
pub const STEADY: [(&str, &str); 7] = [
    ("recvmsg", "messages of the front end"),
    ("sendmsg", "answers to them"),
    ("ppoll", "a queue's thread waits for its kick"),
    ("read", "take a kick"),
    ("write", "tell the driver, wake a queue's thread"),
    ("futex", "a queue's lock, between its thread and the control thread"),
    ("exit_group", "end"),
];
