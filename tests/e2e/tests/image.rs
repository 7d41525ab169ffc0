//! Protects images from end to end: what `casemate image build` makes boots under `casemate run`,
//! runs its workload as its user behind closed doors, and brings back its status; what was changed
//! of it is refused at the place that can see it, with a sentence. The same once as a confidential
//! guest in the virtual SNP host, whose processor is a MODEL. Cannot tell what SNP hardware does,
//! nor that the list of doors is complete.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]

use casemate_e2e::{Boot, build_image, c_program, kernel, place, static_programs};
use casemate_test_host::{Host, Kind};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Contents of `/data`: enough that it is in blocks of its own, and found again in the disk.
const DATA: &[u8] = b"data that the workload reads, and that a host would like to change. ";

static BOOT: Boot = Boot::new("image", |host| {
    let folder = images();
    host.directory(&folder, "/img").memory_mib(2048)
});

/// A root file system with a shell, the probe, users, and a file of data.
fn source(folder: &Path) -> PathBuf {
    let tree = folder.join("source");
    let busybox = kernel().parent().unwrap().join("busybox/bin/busybox");
    let probe = Path::new(env!("CARGO_MANIFEST_DIR")).join("l1/image-probe.sh");
    for name in ["bin", "etc", "sbin", "srv"] {
        fs::create_dir_all(tree.join(name)).unwrap();
        fs::set_permissions(tree.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    fs::copy(busybox, tree.join("bin/busybox")).unwrap();
    fs::copy(probe, tree.join("bin/probe")).unwrap();
    fs::copy(c_program("calls").expect("a compiler"), tree.join("bin/calls")).unwrap();
    // What the kernel's own helpers would be, if it found any in the image.
    for name in ["modprobe", "request-key"] {
        let helper = "#!/bin/sh\n: >/tmp/helper\n";
        fs::write(tree.join("sbin").join(name), helper).unwrap();
    }
    for name in ["bin/busybox", "bin/probe", "bin/calls", "sbin/modprobe", "sbin/request-key"] {
        fs::set_permissions(tree.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::os::unix::fs::symlink("busybox", tree.join("bin/sh")).unwrap();
    fs::write(tree.join("etc/passwd"), "root:x:0:0::/:/bin/sh\napp:x:100:101::/srv:/bin/sh\n")
        .unwrap();
    fs::write(tree.join("etc/group"), "root:x:0:\nlog:x:7:app\n").unwrap();
    fs::write(tree.join("data"), DATA.repeat(4096)).unwrap();
    tree
}

fn build(folder: &Path, name: &str, options: &[&str], task: &[&str]) -> PathBuf {
    build_image(folder, name, options, &[&["probe"], task].concat()).expect("an image")
}

/// Makes `owner.key`; the key that results are sealed to.
fn owner(folder: &Path) -> String {
    let mut command = Command::new(static_programs().unwrap().join("casemate"));
    let output = command.arg("result-key").arg(folder.join("owner.key")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A folder with the images of all scenarios.
fn images() -> PathBuf {
    Host::new(Kind::Plain).expect("the virtual host, whose kernel the guests have");
    let work = place("image-source").expect("a folder");
    source(&work);
    let public = ["--console", "public"];
    let user =
        ["--console", "public", "--user", "app", "--workdir", "/srv", "--env", "GREETING=a b"];
    build(&work, "user", &user, &["user", "0"]);
    build(&work, "doors", &public, &["doors", "7"]);
    build(&work, "status", &[], &["user", "5"]);
    build(&work, "none", &["--console", "none"], &["user", "5"]);
    build(&work, "wait", &public, &["wait"]);
    let recipient = owner(&work);
    build(&work, "sealed", &["--recipient", &recipient], &["results", "0"]);
    build(&work, "memory", &["--recipient", &recipient], &["memory"]);
    let read = build(&work, "read", &public, &["read"]);
    // Somewhere behind the start of the file, so that not the block that is read first has it.
    let disk = fs::read(read.join("root.img")).unwrap();
    let at = disk.windows(DATA.len()).position(|part| part == DATA).expect("the file in the disk");
    fs::write(work.join("data-at"), format!("{}", at + 100_000)).unwrap();
    fs::remove_dir_all(work.join("source")).unwrap();
    work
}

#[track_caller]
fn has(text: &str, all: &[&str]) {
    for said in all {
        assert!(text.contains(said), "not there: {said}\n{text}");
    }
}

#[test]
fn a_workload_runs_as_its_user_where_it_starts_with_its_environment() {
    let left = BOOT.scenario("user");
    assert_eq!(left.status, 0, "{}\n{}", left.out, left.err);
    has(
        &left.out,
        &["guest: user 100:101 groups 101 7", "guest: starts in /srv, GREETING=a b HOME=/srv"],
    );
    has(&left.out, &["guest: CapEff: 0000000000000000", "guest: NoNewPrivs: 1"]);
    assert_eq!(left.remains, "");
}

#[test]
fn doors_into_the_kernel_are_closed_to_a_workload_that_is_root() {
    let left = BOOT.scenario("doors");
    assert_eq!(left.status, 3, "{}\n{}", left.out, left.err);
    has(&left.err, &["its workload failed with status 7", "workload start"]);
    for what in [
        "core pattern",
        "sysrq",
        "settings writable again",
        "a mount",
        "a device node",
        "the root disk",
        "the root",
        "settings of the kernel",
        "the kernel's log",
        "files of PID 1",
        "the initramfs",
        "more modules",
        "the end of PID 1",
        "a user namespace",
        "keys",
        "programs of the kernel",
        "rings of calls",
        "another kernel",
        "ports",
        "a port",
        "standard input",
        "standard output, read",
        "standard output, opened again",
        "a program of no kind",
        "the mark of a helper",
        "interrupts",
        "wider bounds",
        "another cgroup",
        "no bound at all",
        "/proc/1/environ",
        "/proc/1/maps",
        "/proc/1/mem",
        "/proc/1/fd/0",
        "/proc/1/fd/1",
        "/proc/1/fd/2",
        "/proc/1/cwd/etc/passwd",
        "/proc/1/exe",
        "/proc/1/stack",
    ] {
        has(&left.out, &[&format!("guest: closed: {what}\n")]);
    }
    has(&left.out, &["guest: open: standard output, written\n", "guest: written\n"]);
    has(&left.out, &["guest: open: a call\n", "guest: open: a file in /tmp\n"]);
    has(&left.out, &["guest: open: itself over the loopback interface\n"]);
    has(&left.out, &["guest: open: its bounds\n"]);
    has(&left.out, &["guest: core limit 0, year 20"]);
    has(&left.out, &["guest: user 0:0", "guest: CapBnd: 00000000800425fb"]);
}

#[test]
fn what_may_go_to_the_console_is_the_images_choice() {
    let left = BOOT.scenario("status");
    assert_eq!((left.status, left.out.as_str()), (3, ""), "{}", left.err);
    has(&left.err, &["its workload failed with status 5"]);
    let left = BOOT.scenario("none");
    assert_eq!((left.status, left.out.as_str()), (0, ""), "{}", left.err);
    assert!(!left.err.contains("status"), "{}", left.err);
}

#[test]
fn a_workload_is_asked_to_end_by_the_power_button() {
    let left = BOOT.scenario("stop");
    assert_eq!(left.status, 4, "{}\n{}", left.out, left.err);
    has(&left.err, &["switched itself off as asked"]);
}

#[test]
fn a_root_disk_that_is_another_is_refused_with_a_sentence() {
    for scenario in ["first", "tree", "hash"] {
        let left = BOOT.scenario(scenario);
        assert_eq!(left.status, 3, "{scenario}: {}\n{}", left.out, left.err);
        has(&left.err, &["its PID 1 refused: the root disk is not the measured one"]);
        assert!(!left.out.contains("guest:"), "{}", left.out);
        assert_eq!(left.remains, "");
    }
    let left = BOOT.scenario("lost");
    assert_eq!(left.status, 3, "{}", left.err);
    has(&left.err, &["there is no disk with the serial number casemate-root"]);
}

#[test]
fn a_block_that_was_changed_ends_the_guest_when_it_is_read() {
    let left = BOOT.scenario("file");
    assert_eq!(left.status, 3, "{}\n{}", left.out, left.err);
    has(&left.out, &["guest: user 0:0", "is corrupted", "Kernel panic"]);
    has(&left.err, &["the guest asked for a reset"]);
}

/// The guest is no confidential one here, so its results come without a report.
#[test]
fn results_leave_the_guest_sealed_and_without_a_report_prove_nothing() {
    let left = BOOT.scenario("sealed");
    assert_eq!(left.status, 0, "{}\n{}", left.out, left.err);
    has(&left.err, &["sealed results in /out/sealed.result", "no proof who made them"]);
    let sealed = left.path("result");
    assert!(!fs::read(&sealed).unwrap().windows(5).any(|part| part == b"1 2 3"), "in the clear");
    let work = place("image-open").expect("a folder");
    fs::write(work.join("readings"), "1 2 3\n").unwrap();
    let key = BOOT.scenario("sealed").path("key");
    let open = |more: &[&str]| open(&work, &sealed, &key, more);
    let (status, said) = open(&["--nonce", &format!("{:064}", 42), "--input", "readings"]);
    assert_eq!(status, 3, "{said}");
    has(&said, &["not proven who made this"]);
    assert_eq!(fs::read(work.join("out/sums/all")).unwrap(), b"1 2 3\n");
    assert_eq!(fs::read(work.join("out/large")).unwrap(), vec![0; 20 << 16]);
    assert!(!work.join("out/link").exists() && !work.join("out/pipe").exists());
    let mode = |path: &str| work.join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("out/sums"), mode("out/sums/all")), (0o750, 0o640));
    fs::remove_dir_all(work.join("out")).unwrap();
    let (status, said) = open(&["--nonce", &format!("{:064}", 43)]);
    assert!(status == 1 && said.contains("it is of another run"), "{said}");
    let _ = fs::remove_dir_all(&work);
    let left = BOOT.scenario("nowhere");
    assert_eq!(left.status, 2, "{}", left.err);
    has(&left.err, &["the image seals its results: say where to"]);
}

/// Protects an owner from half a result that looks like a whole one: no part of a workload goes on
/// when another was ended for want of memory, and the result says so itself.
#[test]
fn a_workload_that_wants_too_much_memory_is_ended_as_a_whole_and_its_result_says_so() {
    let left = BOOT.scenario("memory");
    assert_eq!(left.status, 3, "{}\n{}", left.out, left.err);
    has(&left.err, &["its workload failed with status 137", "sealed results in"]);
    let work = place("image-memory").expect("a folder");
    let key = BOOT.scenario("sealed").path("key");
    let nonce = format!("{:064}", 42);
    let (status, said) =
        open(&work, &left.path("result"), &key, &["--nonce", &nonce, "--no-input"]);
    assert_eq!(status, 3, "{said}");
    has(&said, &["the workload was ended since the guest had no more memory for it"]);
    assert_eq!(fs::read(work.join("out/part")).unwrap(), b"part\n");
    let _ = fs::remove_dir_all(&work);
}

/// `casemate open` of a result, in a folder; its status and what it said.
fn open(work: &Path, sealed: &Path, key: &Path, more: &[&str]) -> (i32, String) {
    let mut command = Command::new(static_programs().unwrap().join("casemate"));
    command.current_dir(work).arg("open").arg(sealed).args(["-o", "out", "--key"]).arg(key);
    let output = command.args(more).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// What the guest is told of SNP is the MODEL's.
#[test]
fn an_image_is_a_confidential_guest_and_a_changed_byte_of_its_root_is_refused() {
    let work = place("image-snp").expect("a folder");
    source(&work);
    let image = build(&work, "app", &["--console", "public", "--c-bit", "39"], &["user", "6"]);
    let run = "casemate run /img/app/ --shape 1x256M --policy /policy.toml --timeout 600s";
    let output = Host::new(Kind::Snp)
        .expect("the virtual SNP host can be built")
        .file(static_programs().unwrap().join("casemate"), "/bin/casemate")
        .directory(&image, "/img/app")
        .memory_mib(2048)
        .timeout(Duration::from_secs(1300))
        .run(&format!(
            "{run}; echo status=$?; printf x | dd of=/img/app/root.img bs=1 seek=1040 \
             conv=notrunc 2>/dev/null; {run}; echo status=$?; \
             printf x | dd of=/img/app/kernel bs=1 seek=9000 conv=notrunc 2>/dev/null; {run}; \
             echo status=$?"
        ))
        .expect("the virtual SNP host runs");
    let _ = fs::remove_dir_all(&work);
    let all = format!("{}\n{}", output.stdout.replace('\r', ""), output.stderr);
    has(&all, &["guest: user 0:0", "its workload failed with status 6"]);
    has(&all, &["its PID 1 refused: the root disk is not the measured one"]);
    has(&all, &["/img/app/kernel: its bytes are not those that launch.json names"]);
    assert_eq!(all.matches("status=3").count(), 2, "{all}");
    assert_eq!(all.matches("status=2").count(), 1, "{all}");
}

/// From the image to its owner: the report that comes with the results is the MODEL's.
#[test]
fn results_of_a_confidential_guest_are_its_owners_and_proven() {
    let work = place("image-results").expect("a folder");
    source(&work);
    let options = ["--console", "public", "--c-bit", "39", "--recipient", &owner(&work)];
    let image = build(&work, "app", &options, &["results", "0"]);
    fs::write(work.join("readings"), "1 2 3\n").unwrap();
    let nonce = format!("{:064}", 42);
    let output = Host::new(Kind::Snp)
        .expect("the virtual SNP host can be built")
        .file(static_programs().unwrap().join("casemate"), "/bin/casemate")
        .directory(&image, "/img/app")
        .file(work.join("readings"), "/readings")
        .get("/result", work.join("result"))
        .get("/etc/snp-model", work.join("model"))
        .memory_mib(2048)
        .timeout(Duration::from_secs(1300))
        .run(&format!(
            "casemate run /img/app/ --shape 1x256M --policy /policy.toml --timeout 600s \
             --input /readings --output /result --nonce {nonce}"
        ))
        .expect("the virtual SNP host runs");
    let all = format!("{}\n{}", output.stdout.replace('\r', ""), output.stderr);
    has(&all, &["sealed results in /result"]);
    assert!(!all.contains("without a report"), "{all}");
    let launch = fs::read_to_string(image.join("launch.json")).unwrap();
    let digest =
        launch.split_once("\"digest\": \"").expect("a digest").1.split('"').next().unwrap();
    let appraisal = |digest: &str| {
        fs::write(work.join("appraisal.toml"), format!("measurements = [\"{digest}\"]\n")).unwrap();
    };
    appraisal(digest);
    let trusted = [
        "--policy",
        "appraisal.toml",
        "--cert",
        "model/vcek.der",
        "--accept-model-root",
        "model/ark-ask.pem",
        "--authenticity-only",
    ];
    let (sealed, key) = (work.join("result"), work.join("owner.key"));
    let opened =
        |sealed: &Path, more: &[&str]| open(&work, sealed, &key, &[&trusted[..], more].concat());
    let run = ["--nonce", nonce.as_str(), "--input", "readings"];
    let (status, said) = opened(&sealed, &run);
    assert_eq!(status, 0, "{said}");
    has(&said, &["MODEL"]);
    assert_eq!(fs::read(work.join("out/sums/all")).unwrap(), b"1 2 3\n");
    fs::remove_dir_all(work.join("out")).unwrap();
    // The host has the recipient's key: it seals what it likes, and puts the real report beside it.
    let real = casemate_result::survey(&mut &fs::read(&sealed).unwrap()[..]).unwrap();
    let to = owner_of(&key);
    let forge = |cover: casemate_result::Cover| {
        let mut sealer =
            casemate_result::Sealer::new(Vec::new(), &[to], &cover.nonce, &cover.inputs).unwrap();
        casemate_result::entries::end(&mut sealer, casemate_result::Ending::GOOD).unwrap();
        let (part, told) = sealer.finish().unwrap();
        let cover = casemate_result::Cover { sealed: told.len, ..cover };
        fs::write(work.join("forged"), [&cover.encode()[..], &part, &real.evidence].concat())
            .unwrap();
        opened(&work.join("forged"), &["--no-input", "--nonce", &nonce])
    };
    let inputs = casemate_result::InputDigest::default().finish();
    let (status, said) = forge(casemate_result::Cover { inputs, ..real.cover });
    assert!(status == 1 && said.contains("refused"), "{said}");
    // Another image: its report says so.
    appraisal(&"00".repeat(48));
    let (status, said) = opened(&sealed, &run);
    assert!(status == 1 && said.contains("refused"), "{said}");
    assert!(!work.join("out").exists());
    let _ = fs::remove_dir_all(&work);
}

fn owner_of(key: &Path) -> casemate_result::PublicKey {
    let text = fs::read_to_string(key).unwrap();
    casemate_result::SecretKey::from_text(&text).unwrap().public().unwrap()
}
