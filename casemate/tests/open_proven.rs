//! Protects an owner from the host: `casemate open` with a policy writes what the guest of that
//! policy made in the run that the owner meant, and refuses all else before it writes anything.
//! Processor, certificates and lists are a MODEL's. Cannot tell what hardware would sign, nor that
//! a guest asks for the right report: that is `tests/e2e`'s.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[cfg(all(feature = "vm", feature = "image"))]
mod built_image;
mod page;
mod sealed_result;

#[cfg(all(feature = "vm", feature = "image"))]
use built_image::{PROGRAM, Place as Built, json};
use casemate_attestation::context;
use casemate_attestation::digest::PageKind;
use casemate_attestation::hex::encode;
use casemate_attestation::model::{Config, Finish, Guest, ModelRoot, Processor, Signer};
use casemate_attestation::record::Record;
use casemate_attestation::report::Generation;
use casemate_result::{Cause, Ending, LABEL, PublicKey};
use page::{parse, rows};
use sealed_result::{NONCE, Place, RUN, Run, Sealed};

/// Its private keys are public: it is for tests alone.
const ROOT: &[u8] = include_bytes!("../../attestation/tests/data/model_root.json");
/// What an owner knows of the run.
const MEANT: [&str; 4] = ["--nonce", NONCE, "--input", "readings"];

/// An owner with a policy for one guest, and the chip of a host.
struct Owner {
    place: Place,
    key: PublicKey,
    chip: Processor,
}

/// A guest of this chip, whose one page says what it is.
fn guest(chip: &Processor, page: u8, policy: u64) -> Guest {
    let mut guest = Guest::start(chip, policy).unwrap();
    guest.update(PageKind::Normal, 0, &[page; 4096]).unwrap();
    guest.finish(&Finish::default()).unwrap();
    guest
}

const GUEST_POLICY: u64 = 0x30000;
const DEBUG: u64 = 1 << 19;

impl Owner {
    fn new(name: &str) -> Self {
        let place = Place::new(name);
        let root = ModelRoot::from_bytes(ROOT).unwrap();
        let chip = Processor::new(&root, Config::new(Generation::Turin).unwrap()).unwrap();
        let list = root.crl(Signer::Ark, "260501000000Z", Some("270501000000Z"), &[]).unwrap();
        place.write("root.pem", root.bundle_pem().as_bytes());
        place.write("vcek.der", chip.vcek());
        place.write("list.crl", &list);
        place.write("readings", RUN.readings);
        let measurement = encode(&guest(&chip, 1, GUEST_POLICY).state().measurement);
        let rules = "require-crl = true\ntcb.turin.reported = { snp = 4 }\n";
        place.write("wanted", format!("measurements = [\"{measurement}\"]\n{rules}").as_bytes());
        let key = place.key("owner.key");
        Self { place, key, chip }
    }

    /// A report for this REPORT_DATA, of the guest that the policy admits.
    fn report(&self, data: [u8; 64]) -> Vec<u8> {
        self.report_of(&guest(&self.chip, 1, GUEST_POLICY), data, 0)
    }

    fn report_of(&self, guest: &Guest, data: [u8; 64], vmpl: u32) -> Vec<u8> {
        self.chip.report(guest.state(), data, vmpl, 1).unwrap().to_vec()
    }

    /// What the guest leaves on its disk.
    fn result(&self, run: Run) -> Vec<u8> {
        let sealed = run.seal(self.key, *b"six\n");
        let report = self.report(data(&sealed));
        sealed.with(&report)
    }

    /// What the owner trusts, and what they know of the run.
    fn options<'a>(more: &[&'a str]) -> Vec<&'a str> {
        let trusted = ["--policy", "wanted", "--cert", "vcek.der", "--at", "2026-06-01"];
        [&trusted[..], &["--accept-model-root", "root.pem", "--crl", "list.crl"], more].concat()
    }

    #[track_caller]
    fn refuses(&self, result: &[u8], why: &str) {
        self.place.write("sealed", result);
        self.place.refused("sealed", &Self::options(&MEANT), 1, why);
    }
}

fn data(sealed: &Sealed) -> [u8; 64] {
    context::report_data(LABEL, &sealed.binding()).unwrap()
}

#[test]
fn results_of_the_guest_that_the_policy_admits_are_written_and_nothing_else_is_said() {
    let owner = Owner::new("accepted");
    owner.place.write("sealed", &owner.result(RUN));
    let open = ["open", "sealed", "-o", "out", "--key", "owner.key"];
    let all = [&open[..], &Owner::options(&MEANT)].concat();
    let (status, printed, said) = owner.place.casemate(&all);
    assert_eq!((status, printed.as_str()), (0, ""), "{said}");
    assert!(said.lines().count() == 1 && said.contains("MODEL"), "{said}");
    assert_eq!(std::fs::read(owner.place.0.join("out/sums/all")).unwrap(), b"six\n");
}

/// Protects an owner from a part that looks like all of it: only the guest's word counts, and it is
/// in what is sealed.
#[test]
fn results_of_a_workload_that_failed_are_written_and_the_status_says_so() {
    let owner = Owner::new("failed");
    for (status, cause, said) in [
        (7, Cause::Exit, "the workload exited with status 7"),
        (137, Cause::Signal, "the workload was ended by signal 9"),
        (137, Cause::Memory, "the workload was ended since the guest had no more memory"),
    ] {
        let sealed = RUN.seal_ended(owner.key, *b"six\n", Ending { status, cause });
        owner.place.write("sealed", &sealed.with(&owner.report(data(&sealed))));
        let open = ["open", "sealed", "-o", "out", "--key", "owner.key"];
        let found = owner.place.casemate(&[&open[..], &Owner::options(&MEANT)].concat());
        assert!(found.0 == 4 && found.2.contains(said), "{found:?}");
        std::fs::remove_dir_all(owner.place.0.join("out")).unwrap();
        // That nothing is proven comes first.
        let found = owner.place.casemate(&open);
        assert!(found.0 == 3 && found.2.contains(said), "{found:?}");
        std::fs::remove_dir_all(owner.place.0.join("out")).unwrap();
    }
}

/// Protects who follows the documentation: the lines that it gives, below what `image show
/// --policy` prints, admit the guest of this image and no other.
#[test]
fn the_policy_of_the_documentation_admits_its_image_and_no_other() {
    let owner = Owner::new("documented");
    let document = include_str!("../../docs/results.md");
    let lines = document.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let policy = |measurement: &[u8; 48]| {
        let head = "schema_version = 1\nmin_engine = \"0.1.0\"\nname = \"release of an image\"\n";
        let measurement = encode(measurement);
        // What only a test wants.
        let model = "model_root = \"required\"\n";
        format!("{head}[attestation]\nmeasurement = [\"{measurement}\"]\n{lines}{model}")
    };
    let other = guest(&owner.chip, 2, GUEST_POLICY).state().measurement;
    owner.place.write("wanted", policy(&other).as_bytes());
    owner.refuses(&owner.result(RUN), "attestation.measurement");
    let ours = guest(&owner.chip, 1, GUEST_POLICY).state().measurement;
    owner.place.write("wanted", policy(&ours).as_bytes());
    owner.place.write("sealed", &owner.result(RUN));
    let open = ["open", "sealed", "-o", "out", "--key", "owner.key"];
    let found = owner.place.casemate(&[&open[..], &Owner::options(&MEANT)].concat());
    assert_eq!(found.0, 0, "{found:?}");
}

/// A verdict that leaves something open is not 0, and nothing is written, unless that is asked for.
#[test]
fn what_is_authentic_and_not_accepted_is_written_only_when_that_is_enough() {
    let owner = Owner::new("authentic");
    owner.place.write("sealed", &owner.result(RUN));
    owner.place.write("lax", b"tcb.turin.reported = { snp = 4 }\n");
    let mut options = Owner::options(&MEANT);
    options[1] = "lax";
    owner.place.refused("sealed", &options, 3, "not proven: measurement");
    let open = ["open", "sealed", "-o", "out", "--key", "owner.key", "--authenticity-only"];
    let (status, _, said) = owner.place.casemate(&[&open[..], &options].concat());
    assert_eq!(status, 0, "{said}");
    assert_eq!(std::fs::read(owner.place.0.join("out/sums/all")).unwrap(), b"six\n");
}

/// The host has the owner's public key, the reports of runs that it started, and its own guests.
#[test]
fn what_a_host_can_make_up_is_refused_before_anything_is_written() {
    let owner = Owner::new("forged");
    let real = RUN.seal(owner.key, *b"six\n");
    let report = owner.report(data(&real));
    let forged = RUN.seal(owner.key, *b"two\n");
    owner.refuses(&forged.with(&[]), "it has no report");
    // The real report beside a result of the host's.
    owner.refuses(&forged.with(&report), "report data, all 64 bytes");
    // A report of the host's own making.
    let asked = owner.report_of(&guest(&owner.chip, 1, GUEST_POLICY), data(&forged), u32::MAX);
    owner.refuses(&forged.with(&asked), "privilege level of the requester");
    let mut unsigned = report.clone();
    unsigned[0x50..0x90].copy_from_slice(&data(&forged));
    owner.refuses(&forged.with(&unsigned), "signature of the report");
    // A guest of the host's, which asks for the right REPORT_DATA; and the right one, debugged.
    let other = owner.report_of(&guest(&owner.chip, 2, GUEST_POLICY), data(&forged), 0);
    owner.refuses(&forged.with(&other), "launch measurement");
    let debugged = owner.report_of(&guest(&owner.chip, 1, GUEST_POLICY | DEBUG), data(&forged), 0);
    owner.refuses(&forged.with(&debugged), "guest policy: debug");
    // Another program of the right guest, which got a report for a purpose of its own.
    let data = context::report_data("another", &forged.binding()).unwrap();
    owner.refuses(&forged.with(&owner.report(data)), "report data, all 64 bytes");
    // That report, and the result it was made for, are good.
    owner.place.write("sealed", &real.with(&report));
    let open = ["open", "sealed", "-o", "out", "--key", "owner.key"];
    let all = [&open[..], &Owner::options(&MEANT)].concat();
    assert_eq!(owner.place.casemate(&all).0, 0);
}

#[test]
fn results_of_another_run_or_of_other_inputs_are_refused_though_their_guest_is_the_right_one() {
    let owner = Owner::new("other-run");
    let earlier = Run { nonce: [0x2b; 32], ..RUN };
    owner.refuses(&owner.result(earlier), "it is of another run");
    let other = Run { readings: b"1 2 4", ..RUN };
    owner.refuses(&owner.result(other), "it was made of other inputs");
    // Sealed again for the run that the owner meant, beside the report of the one that was.
    let report = owner.report(data(&earlier.seal(owner.key, *b"six\n")));
    owner.refuses(&RUN.seal(owner.key, *b"six\n").with(&report), "report data, all 64 bytes");
    // What the cover says was changed to what the owner wants to hear.
    let sealed = earlier.seal(owner.key, *b"six\n");
    let report = owner.report(data(&sealed));
    let lie =
        Sealed { cover: casemate_result::Cover { nonce: RUN.nonce, ..sealed.cover }, ..sealed };
    owner.refuses(&lie.with(&report), "sealed for another run or other inputs");
}

#[test]
fn one_changed_byte_of_a_result_is_refused_wherever_it_is() {
    let owner = Owner::new("changed");
    let whole = owner.result(RUN);
    let sealed = casemate_result::Cover::SIZE..whole.len() - 1184;
    // Of the cover, of stanza and piece, of the report with its signature: every part, and of the
    // sealed one the first and last byte, too. What is reserved in a report must be zero.
    let places = (16..casemate_result::Cover::SIZE).step_by(9).chain(sealed.clone().step_by(17));
    let places = places.chain([sealed.start, sealed.end - 1]);
    for at in places.chain((sealed.end..whole.len()).step_by(61)) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        owner.place.write("sealed", &changed);
        let open = ["open", "sealed", "-o", "out", "--key", "owner.key"];
        let all = [&open[..], &Owner::options(&MEANT)].concat();
        let (status, _, said) = owner.place.casemate(&all);
        assert!(matches!(status, 1 | 2), "byte {at}: {status} {said}");
        assert!(!owner.place.0.join("out").exists(), "byte {at}");
    }
}

#[test]
fn a_root_that_nobody_told_to_trust_proves_nothing() {
    let owner = Owner::new("root");
    owner.place.write("sealed", &owner.result(RUN));
    let options = ["--policy", "wanted", "--cert", "vcek.der", "--at", "2026-06-01"];
    let options = [&options[..], &["--crl", "list.crl"], &MEANT].concat();
    owner.place.refused("sealed", &options, 1, "root key is pinned");
}

impl Owner {
    /// Opens a result with a page and a record: its status, each link with its result and value,
    /// and the page.
    fn page(&self, result: &[u8], more: &[&str]) -> (i32, Vec<(String, String, String)>, String) {
        self.place.write("sealed", result);
        let open = ["open", "sealed", "-o", "out", "--key", "owner.key", "--evidence", "kept.json"];
        let page = ["--evidence-page", "page.html"];
        let (status, printed, said) =
            self.place.casemate(&[&open[..], &page, &Self::options(&MEANT), more].concat());
        assert_eq!(printed, "", "{said}");
        let _ = std::fs::remove_dir_all(self.place.0.join("out"));
        let page = std::fs::read_to_string(self.place.0.join("page.html")).unwrap();
        let link = |row: Vec<String>| (row[0].clone(), row[1].clone(), row[2].clone());
        (status, rows(&parse(&page), "The chain").into_iter().map(link).collect(), page)
    }
}

#[track_caller]
fn is(links: &[(String, String, String)], wanted: &[(&str, &str)]) {
    for (name, state) in wanted {
        let found = links.iter().find(|link| link.0 == *name);
        let found = found.unwrap_or_else(|| panic!("no link {name}: {links:?}"));
        assert_eq!(found.1, *state, "{name}: {links:?}");
    }
}

/// Protects who looks at a page, and whom it is shown to, from a green word that nobody has earned:
/// what a verifier refused or did not look at is not passed, and what an unsigned report says is
/// not there at all. Cannot tell whether the page is pleasant.
#[test]
fn a_page_calls_passed_what_was_checked_and_shows_nothing_that_nobody_vouches_for() {
    let owner = Owner::new("page");
    let sealed = RUN.seal(owner.key, *b"six\n");
    let report = owner.report(data(&sealed));
    let (status, links, page) = owner.page(&sealed.with(&report), &[]);
    assert_eq!(status, 0);
    let open = [("launch digest", "not checked"), ("release policy", "not checked")];
    // A MODEL's root proves nothing of hardware, and is never called passed.
    let good = [("chip", "WARNING"), ("not revoked", "passed"), ("report", "passed")];
    is(&links, &[&good[..], &[("made for this result", "passed")], &open].concat());
    assert!(page.contains("<title>MODEL: ") && links[0].2.starts_with("MODEL, "), "{links:?}");
    assert!(!page.contains("<script") && !page.contains("://"), "{page}");
    // What is kept is what was judged, and can be judged again.
    let kept = std::fs::read(owner.place.0.join("kept.json")).unwrap();
    assert!(Record::from_json(&kept).unwrap().repeat().unwrap().same);
    // The report of another result, which its chip has signed.
    let (status, links, _) = owner.page(&RUN.seal(owner.key, *b"two\n").with(&report), &[]);
    assert_eq!(status, 1);
    is(&links, &[&good[..], &[("made for this result", "FAILED")]].concat());
    // One that nobody has signed: its measurement is not on the page.
    let mut unsigned = report.clone();
    unsigned[0x90] ^= 1;
    let (status, links, page) = owner.page(&sealed.with(&unsigned), &[]);
    assert_eq!(status, 1);
    is(&links, &[("report", "FAILED"), ("launch digest", "not checked")]);
    assert!(!page.contains(&encode(&unsigned[0x90..0xc0])), "{page}");
    assert!(!page.contains(&encode(&unsigned[0x1a0..0x1e0])), "the chip that it names");
    assert!(!page.contains(&encode(&unsigned[0x1a0..0x1a8])), "the beginning of it");
    assert!(page.contains("<title>MODEL: "), "whose root it is says nobody but the MODEL's");
    assert!(!links.iter().any(|link| link.1 == "passed" && link.0 == "made for this result"));
    // What an appraisal demands, and the report is not, is the last link's.
    let zeros = format!("measurements = [\"{}\"]\nrequire-crl = true\n", "00".repeat(48));
    owner.place.write("wanted", zeros.as_bytes());
    let (status, links, _) = owner.page(&sealed.with(&report), &[]);
    assert_eq!(status, 1);
    is(&links, &[&good[..], &[("release policy", "FAILED")]].concat());
    // Nothing that is read is written over: no certificate, and not where results are to be.
    let open = ["open", "sealed", "-o", "out", "--key", "owner.key", "--evidence"];
    let own = [&Owner::options(&MEANT)[..], &["--certs-dir", "."]].concat();
    for (output, why) in [("new.der", "store of certificates"), ("out", "out")] {
        let (status, _, said) = owner.place.casemate(&[&open[..], &[output], &own].concat());
        assert!(status == 2 && said.contains(why), "{output}: {said}");
        assert!(!owner.place.0.join(output).exists());
    }
    // No list of what was revoked: nothing is said of that.
    owner.place.write("wanted", b"tcb.turin.reported = { snp = 4 }\n");
    let without = ["--policy", "wanted", "--cert", "vcek.der", "--at", "2026-06-01"];
    owner.place.write("sealed", &sealed.with(&report));
    let open =
        ["open", "sealed", "-o", "out", "--key", "owner.key", "--evidence-page", "page.html"];
    let trusted = ["--accept-model-root", "root.pem"];
    let found = owner.place.casemate(&[&open[..], &without, &trusted, &MEANT].concat());
    assert_eq!(found.0, 3, "{found:?}");
    let page = std::fs::read_to_string(owner.place.0.join("page.html")).unwrap();
    let chain = rows(&parse(&page), "The chain");
    assert_eq!(chain[1][..2], ["not revoked", "not checked"], "{chain:?}");
}

/// Protects an owner from a page about another image, launch policy or output than they mean.
#[cfg(all(feature = "vm", feature = "image"))]
#[test]
fn an_images_links_are_passed_for_the_guest_that_was_launched_of_it_alone() {
    let owner = Owner::new("page-image");
    let built = Built::new("page");
    built.built("root", "app.img", &PROGRAM);
    let launch = json(&built.read("app.img/launch.json"));
    let digest = launch["digests"][1]["digest"].as_str().unwrap().to_owned();
    assert_eq!(launch["digests"][1]["vcpus"], 2);
    let image = built.0.join("app.img").to_str().unwrap().to_owned();
    let sealed = RUN.seal(owner.key, *b"six\n");
    let report = |host_data: u8, digest: Option<&str>| {
        let mut state = guest(&owner.chip, 1, GUEST_POLICY).state().clone();
        if let Some(digest) = digest {
            state.measurement.copy_from_slice(&casemate_attestation::hex::decode(digest).unwrap());
        }
        state.host_data = [host_data; 32];
        sealed.with(&owner.chip.report(&state, data(&sealed), 0, 1).unwrap()[..])
    };
    let rules = "require-crl = true\ntcb.turin.reported = { snp = 4 }\n";
    owner.place.write("wanted", format!("measurements = [\"{digest}\"]\n{rules}").as_bytes());
    let of_image = ["--image", image.as_str()];
    let (status, links, _) = owner.page(&report(0, Some(&digest)), &of_image);
    assert_eq!(status, 0, "{links:?}");
    let parts = ["kernel", "initrd", "command line", "root hash"];
    let all = |state| parts.map(|part| (part, state));
    is(&links, &all("passed"));
    // This image asks no broker, so no run of it hands its policy over.
    is(&links, &[("launch digest", "passed"), ("launch policy", "not checked")]);
    // Nobody has looked into the disk, nor asked a broker.
    is(&links, &[("manifest", "not checked"), ("secrets", "not checked")]);
    assert_eq!(links[5].2, format!("SHA-256 {}", launch["files"]["kernel"].as_str().unwrap()));
    // It was launched with a policy that the owner has not named.
    let (_, links, _) = owner.page(&report(7, Some(&digest)), &of_image);
    is(&links, &[("launch digest", "passed"), ("launch policy", "not checked")]);
    owner.place.write("launch.toml", b"x");
    let named = [&of_image[..], &["--launch-policy", "launch.toml"]].concat();
    let (_, links, _) = owner.page(&report(7, Some(&digest)), &named);
    is(&links, &[("launch policy", "FAILED")]);
    // Another guest: which of the image's parts is not in it, nobody can say.
    let (status, links, _) = owner.page(&report(0, None), &of_image);
    assert_eq!(status, 1);
    is(&links, &[("report", "passed"), ("launch digest", "FAILED")]);
    is(&links, &all("not checked"));
    // A page is none of what it is about.
    let page = format!("{image}/launch.json");
    let open = ["open", "sealed", "-o", "out", "--key", "owner.key", "--evidence-page"];
    for file in ["owner.key", "sealed", "wanted", "readings", page.as_str()] {
        let more = [&[file][..], &of_image, &Owner::options(&MEANT)].concat();
        let (status, _, said) = owner.place.casemate(&[&open[..], &more].concat());
        assert_eq!(status, 2, "{file}: {said}");
    }
}
