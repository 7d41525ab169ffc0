//! The heap of images: it gives memory as a program asks for it, and once frozen makes no call.
//!
//! This program has that heap, as an image has it, but glibc around it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use casemate_sandbox::{
    Action, Exit, FdTable, Heap, Layers, Profile, Rule, freeze_heap, reserve_heap, sys,
};
use casemate_test_support::sandbox::confined;
use std::collections::VecDeque;
use std::hint::black_box;
use std::process::ExitCode;

#[global_allocator]
static HEAP: Heap = Heap::new();

const PROFILE: Profile = Profile {
    name: "heap",
    rules: &[
        Rule::new(sys("exit_group"), &[], "ends"),
        Rule::new(sys("futex"), &[], "waits for the heap's lock"),
    ],
};

/// What becomes of a process that has frozen its heap with 8 MiB more and does `act` under a filter
/// without any call for memory.
fn frozen(freeze: impl Fn(usize), act: impl FnOnce() -> i32) -> Exit {
    let mut child = confined(Layers::new("test"), |setup| {
        freeze(8 << 20);
        let _locked = setup.lock(&PROFILE, &FdTable::new(), Action::Kill).unwrap();
        act()
    });
    child.confined().unwrap();
    child.wait().unwrap()
}

/// Protects a locked process: what fits is given again and again, and no call is made for it.
fn frozen_heap_gives_its_reserve_and_makes_no_call() {
    let use_it = || {
        for _ in 0..100 {
            let blocks: Vec<Vec<u8>> =
                (0..10).map(|_| black_box(vec![1; (7 << 20) / 10])).collect();
            drop(blocks);
        }
        0
    };
    assert_eq!(frozen(|bytes| freeze_heap(bytes).unwrap(), use_it), Exit::Code(0));
    assert_eq!(frozen(|bytes| reserve_heap(bytes).unwrap(), use_it), Exit::Code(0));
}

/// Protects the host's memory: beyond the reserve a process has none, and hears so where it asks.
fn frozen_heap_has_no_more_and_says_so() {
    let ask = || {
        let mut more: Vec<u8> = Vec::new();
        let is_refused = more.try_reserve_exact(64 << 20).is_err();
        let still_works = black_box(vec![7_u8; 1 << 20]).iter().all(|byte| *byte == 7);
        i32::from(!(is_refused && still_works))
    };
    assert_eq!(frozen(|bytes| freeze_heap(bytes).unwrap(), ask), Exit::Code(0));
}

/// Protects every program with this heap: blocks are aligned as asked for, zeroed where that is
/// asked for, keep their bytes while others come, grow and go on several threads, and never
/// overlap.
fn heap_gives_each_thread_memory_of_its_own() {
    #[repr(align(4096))]
    #[derive(Clone, Copy)]
    struct Page([u8; 4096]);
    let work = |seed: u8| {
        let (mut number, mut blocks) = (u32::from(seed) | 1, VecDeque::new());
        for _ in 0..20_000 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (len, fill) = ((number >> 16) as usize % 5000, number.to_le_bytes()[3]);
            let zeroed = vec![0_u8; len];
            assert!(zeroed.iter().all(|byte| *byte == 0));
            let mut block = vec![fill; len];
            block.resize(len + len / 2, fill);
            blocks.push_back((fill, block, zeroed));
            if blocks.len() > 50 {
                let (fill, block, _) = blocks.pop_front().unwrap();
                assert!(block.iter().all(|byte| *byte == fill));
            }
        }
        let page = black_box(Box::new(Page([seed; 4096])));
        assert_eq!(std::ptr::from_ref(&*page).addr() % 4096, 0);
        assert!(page.0.iter().all(|byte| *byte == seed));
    };
    std::thread::scope(|scope| {
        (1..=4_u8).for_each(|seed| drop(scope.spawn(move || work(seed))));
    });
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        frozen_heap_gives_its_reserve_and_makes_no_call,
        frozen_heap_has_no_more_and_says_so,
        heap_gives_each_thread_memory_of_its_own,
    ])
}
