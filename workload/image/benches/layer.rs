//! Processor time of a layer's disk: 150 MB of files, read from a tar stream, hashed, written as
//! EROFS, with the verity tree. Goal: 3 s of this process's time, kernel included.
//!
//! `cargo bench -p casemate-image --bench layer [-- MEGABYTES]`
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a measurement stops at what goes wrong"
)]

use casemate_image::overlay::Alone;
use casemate_image::{Limits, Spool};
use std::time::Duration;

/// User and kernel time of this process, in ticks of 10 ms.
fn used() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn main() {
    let megabytes = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(150);
    let mut tar = tar::Builder::new(Vec::new());
    // Files of 100 kB, their bytes as hard to compress as programs are.
    let mut state = 1_u64;
    let file: Vec<u8> = (0..100_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8 & 0x3f
        })
        .collect();
    for number in 0..megabytes * 10_u32 {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(file.len() as u64);
        tar.append_data(&mut header, format!("usr/{}/{number}", number % 50), &file[..]).unwrap();
    }
    let plain = tar.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    for (what, stream) in [("plain", plain), ("gzip", gzip.finish().unwrap())] {
        let folder = std::env::temp_dir();
        let begun = used();
        let mut spool = Spool::new(&folder, 1 << 40).unwrap();
        let alone = Alone::read(&stream[..], None, Limits::default(), &mut spool).unwrap();
        let path = folder.join(format!("casemate-bench-{}", std::process::id()));
        let out = std::fs::File::options().read(true).write(true).create_new(true).open(&path);
        std::fs::remove_file(&path).unwrap();
        let disk = alone.write(&spool, &out.unwrap()).unwrap();
        let time = used() - begun;
        println!("{what}: {megabytes} MB, {} files: {time:?}", disk.files);
    }
}
