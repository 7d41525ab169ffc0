//! `casemate measure` with a large initrd and with a firmware image, beside hashing the same bytes
//! once.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use casemate_test_support::bzimage::bzimage;
use casemate_test_support::shipped;
use ring::digest::{SHA256, SHA384, digest};
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

const INITRD: usize = 64 << 20;
/// The size of QEMU's OVMF images.
const FIRMWARE: usize = 4 << 20;
const ROUNDS: usize = 9;

/// The least of some rounds, which is the least disturbed.
fn least(mut run: impl FnMut()) -> Duration {
    let times = (0..ROUNDS).map(|_| {
        let before = Instant::now();
        run();
        before.elapsed()
    });
    times.min().unwrap()
}

fn process(arguments: &[&std::ffi::OsStr]) -> Duration {
    least(|| {
        let mut command = Command::new(shipped(env!("CARGO_BIN_EXE_casemate")));
        let output = command.arg("measure").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    })
}

fn main() {
    let directory = std::env::temp_dir().join(format!("casemate-measure-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let initrd: Vec<u8> = (0..INITRD).map(|i| (i.wrapping_mul(31) >> 7).to_le_bytes()[0]).collect();
    std::fs::write(directory.join("initrd"), &initrd).unwrap();
    std::fs::write(directory.join("kernel"), bzimage(&[])).unwrap();
    let config = directory.join("vm.toml");
    let text =
        "kernel = \"kernel\"\ninitrd = \"initrd\"\nprotection = \"sev-snp\"\nmemory = \"512M\"\n";
    std::fs::write(&config, text).unwrap();
    let once = least(|| {
        black_box(digest(&SHA256, black_box(&initrd)));
    });
    let read = least(|| {
        black_box(std::fs::read(directory.join("initrd")).unwrap());
    });
    let measure = process(&[config.as_os_str()]);
    let tables =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/measure/ovmf_AmdSev_suffix.bin");
    let tables = std::fs::read(tables).unwrap();
    let image = [&initrd[..FIRMWARE - tables.len()], &tables].concat();
    let path = directory.join("ovmf");
    std::fs::write(&path, &image).unwrap();
    let hash = least(|| {
        black_box(digest(&SHA384, black_box(&image)));
    });
    let firmware = process(&["--ovmf".as_ref(), path.as_os_str()]);
    std::fs::remove_dir_all(&directory).unwrap();
    let ratio = |of: Duration| measure.as_secs_f64() / of.as_secs_f64();
    println!("initrd of {} MiB", INITRD >> 20);
    println!("SHA-256 of its bytes, in memory   {once:>10.1?}");
    println!("reading the file                  {read:>10.1?}");
    println!(
        "casemate measure, whole process   {measure:>10.1?}  {:.2} of the hash (target 1.3), {:.2} of reading and hash",
        ratio(once),
        ratio(once + read)
    );
    println!("firmware image of {} MiB", FIRMWARE >> 20);
    println!("SHA-384 of its bytes, in memory   {hash:>10.1?}");
    println!("casemate measure, whole process   {firmware:>10.1?}");
}
