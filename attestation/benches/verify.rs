//! Speed of verification and launch digests, as ratios of named baselines in the same run.
//!
//! `cargo bench -p casemate-attestation`. A small harness: the median of many runs, so that another
//! load on the machine moves baseline and subject alike.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_precision_loss)]

use casemate_attestation::cert::{Certificate, PublicKey, builtin};
use casemate_attestation::crypto::{Backend, Ring};
use casemate_attestation::digest::{LaunchDigest, PageKind};
use casemate_attestation::report::{Report, SIGNED_SIZE};
use casemate_attestation::verify::Verifier;
use std::hint::black_box;
use std::time::{Duration, Instant};

fn read(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The medians of each body's time over `rounds`, the bodies taking turns.
fn medians<const N: usize>(rounds: usize, mut bodies: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let mut times: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (body, times) in bodies.iter_mut().zip(&mut times) {
            let start = Instant::now();
            body();
            times.push(start.elapsed());
        }
    }
    times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    })
}

fn line(name: &str, time: Duration, baseline: &str, base: Duration, wanted: &str) {
    let ratio = time.as_secs_f64() / base.as_secs_f64();
    println!("{name:<46} {time:>12.1?}  {ratio:.3} x {baseline} (wanted {wanted})");
}

fn verification(backend: &'static dyn Backend) {
    let (report, vek) = (read("reports/ms_turin.bin"), read("reports/ms_turin.vcek.der"));
    let at = casemate_attestation::time::parse("2026-06-01").unwrap();
    let mut verifier = Verifier::new(at);
    verifier.backend = backend;
    let chain = verifier.verify_chain(&vek).unwrap();

    let ca =
        |name: &str| Certificate::from_der(&read(&format!("chains/turin/{name}.der"))).unwrap();
    let (ark, ask, vcek) = (ca("ark"), ca("ask"), Certificate::from_der(&vek).unwrap());
    let (PublicKey::Rsa(ark_key), PublicKey::Rsa(ask_key), PublicKey::P384(point)) =
        (&ark.key, &ask.key, &vcek.key)
    else {
        return;
    };
    let parsed = Report::parse(&report).unwrap();
    let fields = parsed.unverified_fields();
    let mut signature = [0u8; 96];
    for (to, from) in signature[..48].iter_mut().zip(fields.signature_r[..48].iter().rev()) {
        *to = *from;
    }
    for (to, from) in signature[48..].iter_mut().zip(fields.signature_s[..48].iter().rev()) {
        *to = *from;
    }
    let mut p384 = || backend.p384(point, &report[..SIGNED_SIZE], &signature).unwrap();
    let mut sum = || {
        backend.rsa_pss(ark_key, ark.tbs(), &ark.signature).unwrap();
        backend.rsa_pss(ark_key, ask.tbs(), &ask.signature).unwrap();
        backend.rsa_pss(ask_key, vcek.tbs(), &vcek.signature).unwrap();
        backend.p384(point, &report[..SIGNED_SIZE], &signature).unwrap();
    };
    // Cold: nothing kept, the CA certificates parsed anew.
    let mut cold = || {
        for certificate in [&ark, &ask] {
            black_box(Certificate::from_der(certificate.der()).unwrap());
        }
        assert!(verifier.verify(&report, Some(&vek)).authentic());
    };
    let mut warm = || assert!(verifier.verify_under(&report, &chain).authentic());
    let [one, all, cold, warm] = medians(400, [&mut p384, &mut sum, &mut cold, &mut warm]);
    println!("back end {}", backend.name());
    println!("{:<46} {one:>12.1?}", "one P-384 verification");
    println!("{:<46} {all:>12.1?}", "three RSA-PSS and one P-384 verification");
    line("full verification, cold", cold, "its signature checks", all, "at most 1.1");
    line("full verification, kept chain", warm, "one P-384 verification", one, "at most 1.1");
}

fn launch_digest() {
    let image = vec![0x5au8; 64 * 1024 * 1024];
    let mut one_core = || {
        black_box(Ring.sha384(&image));
    };
    let mut digest = || {
        let mut digest = LaunchDigest::new();
        digest.pages(PageKind::Normal, 0, &image).unwrap();
        black_box(digest.finish());
    };
    let [one, ours] = medians(9, [&mut one_core, &mut digest]);
    let speed = one.as_secs_f64() / ours.as_secs_f64();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("{:<46} {one:>12.1?}", "SHA-384 of 64 MiB in one call: ring, one core");
    println!(
        "{:<46} {ours:>12.1?}  {speed:.2} x the speed of that call (wanted 1.8 on two cores)",
        format!("launch digest of 64 MiB, cores: {cores}")
    );
}

fn parsing() {
    let vek = read("reports/ms_turin.vcek.der");
    let report = read("reports/ms_turin.bin");
    let mut certificate = || {
        black_box(Certificate::from_der(&vek).unwrap());
    };
    let mut fields = || {
        black_box(Report::parse(&report).unwrap());
    };
    let mut roots = || {
        black_box(builtin());
    };
    let [certificate, fields, roots] = medians(2000, [&mut certificate, &mut fields, &mut roots]);
    println!(
        "parsing: certificate {certificate:.1?}, report {fields:.1?}, built-in roots {roots:.1?}"
    );
}

fn main() {
    // `cargo test --benches` runs this too: once, quickly.
    verification(&Ring);
    #[cfg(feature = "aws-lc")]
    verification(&casemate_attestation::crypto::AwsLc);
    launch_digest();
    parsing();
}
