//! What a launch and a running confidential VM compute: page states, the CPUID page, plans as
//! bytes.

use crate::boot::{file, good_elf};
use arbitrary::{Result, Unstructured};
use casemate_boot::cc;
use casemate_hypervisor::config::RawConfig;
use casemate_hypervisor::launch::BootState;
use casemate_hypervisor::launch::cpuid_page::{CpuidTable, MAX_ENTRIES, filter};
use casemate_hypervisor::launch::measure::measure;
use casemate_hypervisor::launch::{LaunchPlan, PageKind};
use casemate_hypervisor::memory::{
    GpaRange, PAGE_SIZE, PageMap, PageStates, PrivateRam, RamMap, Refusal, Sides, Visibility,
};
use casemate_policy::{PageRule, Policy};
use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use std::sync::{Mutex, OnceLock};

const PAGES: u64 = 300;

/// What KVM and the kernel would hold: of each page whether it is private, and whether each side
/// has memory.
struct Kernel {
    private: Vec<bool>,
    held: [Vec<bool>; 2],
    fail_attributes: bool,
    fail_punch: bool,
}

struct Model(Mutex<Kernel>);
impl Model {
    /// All pages private and held so.
    fn new() -> Self {
        let all = PAGES as usize;
        Self(Mutex::new(Kernel {
            private: vec![true; all],
            held: [vec![false; all], vec![true; all]],
            fail_attributes: false,
            fail_punch: false,
        }))
    }

    fn pages(range: GpaRange) -> std::ops::Range<usize> {
        (range.start() / PAGE_SIZE) as usize..(range.end() / PAGE_SIZE) as usize
    }
}
impl Sides for &Model {
    fn set_private(&self, range: GpaRange, private: bool) -> std::result::Result<(), i32> {
        let mut kernel = self.0.lock().unwrap();
        if kernel.fail_attributes {
            kernel.fail_attributes = false;
            return Err(12);
        }
        kernel.private[Model::pages(range)].fill(private);
        Ok(())
    }
    fn give_up(&self, range: GpaRange, side: Visibility) -> std::result::Result<(), i32> {
        let mut kernel = self.0.lock().unwrap();
        if kernel.fail_punch {
            kernel.fail_punch = false;
            return Err(5);
        }
        kernel.held[usize::from(side == Visibility::Private)][Model::pages(range)].fill(false);
        Ok(())
    }
    fn write(&self, gpa: u64, bytes: &[u8]) -> bool {
        let mut kernel = self.0.lock().unwrap();
        let last = gpa + (bytes.len() as u64).max(1) - 1;
        for page in gpa / PAGE_SIZE..=last / PAGE_SIZE {
            assert!(!kernel.private[page as usize], "a private page was written");
            kernel.held[0][page as usize] = true;
        }
        true
    }
}

/// Page states: exactly the pages of a request change, all of them or none; no page is held on two
/// sides, none where it is not used; the policy's ceilings hold.
pub fn page_states(data: &[u8]) {
    let _ = page_states_of(&mut Unstructured::new(data));
}

fn page_states_of(u: &mut Unstructured) -> Result<()> {
    let (total, percent) = (u.int_in_range(0..=5000_u64)?, u.int_in_range(0..=100_u64)?);
    let action = *u.choose(&["deny", "throttle", "kill"])?;
    let text = format!(
        "schema_version = 1\nmin_engine = \"0.1.0\"\n[runtime]\npage_state_changes = {{ per_second = \"any\", total = {total} }}\nshared_percent = {percent}\non_page_state = \"{action}\"\n"
    );
    let limits = Policy::load(&text, "fuzz").expect("a policy").page_state_limits();
    let model = Model::new();
    let map = PageMap::new(RamMap::new(PAGES * PAGE_SIZE).expect("RAM"), &[]);
    let states = PrivateRam::new(&model, map, limits);
    let (mut used, mut shared) = (0, 0);
    for _ in 0..u.int_in_range(1..=60)? {
        let page = u.int_in_range(0..=PAGES + 3)?;
        let count = u.int_in_range(1..=40_u64)?;
        let range = GpaRange::new(page * PAGE_SIZE, count * PAGE_SIZE).expect("a range");
        let to = if u.arbitrary()? { Visibility::Private } else { Visibility::Shared };
        let before = {
            let mut kernel = model.0.lock().unwrap();
            kernel.fail_attributes = u.ratio(1, 20)?;
            kernel.fail_punch = u.ratio(1, 20)?;
            kernel.private.clone()
        };
        let result = states.convert(range, to);
        let mut kernel = model.0.lock().unwrap();
        (kernel.fail_attributes, kernel.fail_punch) = (false, false);
        let inside = page + count <= PAGES;
        let pages = Model::pages(range);
        match result {
            Ok(changed) => {
                assert!(inside);
                let private = to == Visibility::Private;
                let differed = before[pages.clone()].iter().filter(|p| **p != private).count();
                assert_eq!(changed, differed as u64);
                for (at, was) in before.iter().enumerate() {
                    let now = if pages.contains(&at) { private } else { *was };
                    assert_eq!(kernel.private[at], now, "page {at}");
                }
                for at in pages {
                    assert!(!kernel.held[usize::from(!private)][at], "page {at} is held twice");
                    // The guest uses its page.
                    kernel.held[usize::from(private)][at] = true;
                }
                used += count;
            }
            Err(refusal) => {
                assert_eq!(kernel.private, before, "a refused request changed something");
                match refusal {
                    Refusal::NotRam => assert!(!inside),
                    Refusal::Kernel(_) => used += count,
                    Refusal::Denied(rule) | Refusal::RateLimit(rule) | Refusal::Killed(rule) => {
                        let after = before.iter().enumerate();
                        let after = after.filter(|(at, p)| !**p || pages.contains(at)).count();
                        let over = after as u64 * 100 > PAGES * percent;
                        let over = to == Visibility::Shared && over;
                        assert!(used + count > total || over);
                        assert_eq!(rule == PageRule::Shared, over, "the rule that is named");
                    }
                    other => panic!("{other}"),
                }
            }
        }
        assert!(used <= total, "more changes than the policy allows");
        let now = kernel.private.iter().filter(|private| !**private).count() as u64;
        assert!(now <= shared || now * 100 <= PAGES * percent, "more is shared than allowed");
        shared = now;
        drop(kernel);
        assert_eq!(states.with_map(PageMap::shared), shared);
        let (gpa, len) = (u.int_in_range(0..=PAGES * PAGE_SIZE)?, u.int_in_range(0..=9000_usize)?);
        // The model's `write` checks that no private page is touched.
        let _ = states.write_shared(gpa, &vec![1; len]);
    }
    Ok(())
}

/// Page states with several vCPUs that convert at once: whatever their order, what KVM believes,
/// what the map says and what is held agree in the end, and the policy's count has every page once.
pub fn page_states_at_once(data: &[u8]) {
    let _ = page_states_at_once_of(&mut Unstructured::new(data));
}

fn page_states_at_once_of(u: &mut Unstructured) -> Result<()> {
    let total = u.int_in_range(0..=2000_u64)?;
    let text = format!(
        "schema_version = 1\nmin_engine = \"0.1.0\"\n[runtime]\npage_state_changes = {{ per_second = \"any\", total = {total} }}\nshared_percent = \"any\"\n"
    );
    let limits = Policy::load(&text, "fuzz").expect("a policy").page_state_limits();
    let model = Model::new();
    let map = PageMap::new(RamMap::new(PAGES * PAGE_SIZE).expect("RAM"), &[]);
    let states = PrivateRam::new(&model, map, limits);
    let mut vcpus = Vec::new();
    for _ in 0..3 {
        let mut requests = Vec::new();
        for _ in 0..u.int_in_range(0..=12)? {
            // Few pages, so that requests meet.
            let (page, count) = (u.int_in_range(0..=24_u64)?, u.int_in_range(1..=8_u64)?);
            let to = if u.arbitrary()? { Visibility::Private } else { Visibility::Shared };
            requests.push((GpaRange::new(page * PAGE_SIZE, count * PAGE_SIZE).expect("pages"), to));
        }
        vcpus.push(requests);
    }
    let states = &states;
    let admitted: u64 = std::thread::scope(|scope| {
        let convert = |requests: Vec<(GpaRange, Visibility)>| {
            let one = |(range, to): (GpaRange, Visibility)| match states.convert(range, to) {
                Ok(_) => range.pages(),
                Err(Refusal::Denied(_) | Refusal::RateLimit(_) | Refusal::Killed(_)) => 0,
                Err(other) => panic!("{other}"),
            };
            requests.into_iter().map(one).sum::<u64>()
        };
        let threads: Vec<_> =
            vcpus.into_iter().map(|requests| scope.spawn(move || convert(requests))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert!(admitted <= total, "{admitted} changes of {total}");
    let kernel = model.0.lock().unwrap();
    let shared = kernel.private.iter().filter(|private| !**private).count() as u64;
    assert_eq!(states.with_map(PageMap::shared), shared, "the map and KVM differ");
    for (page, private) in kernel.private.iter().enumerate() {
        assert!(!kernel.held[usize::from(!private)][page], "page {page} is held on both sides");
        let at = GpaRange::new(page as u64 * PAGE_SIZE, PAGE_SIZE).expect("a page");
        assert_eq!(states.with_map(|map| map.shared_in(at)) == 0, *private, "page {page}");
    }
    Ok(())
}

/// The CPUID page: never a 65th entry, nothing that the firmware is known to refuse, and the boot
/// code reads what was meant.
pub fn cpuid_page(data: &[u8]) {
    let _ = cpuid_page_of(&mut Unstructured::new(data));
}

fn cpuid_page_of(u: &mut Unstructured) -> Result<()> {
    const LEAVES: [u32; 14] = [
        0,
        1,
        7,
        0xa,
        0xb,
        0xd,
        0x4000_0000,
        0x8000_0000,
        0x8000_0001,
        0x8000_0008,
        0x8000_000a,
        0x8000_001f,
        0x8000_0021,
        0x8000_0026,
    ];
    let mut entries = Vec::new();
    for _ in 0..u.int_in_range(0..=80)? {
        let function = if u.ratio(4, 5)? { *u.choose(&LEAVES)? } else { u.arbitrary()? };
        let mut register = || if u.ratio(1, 8)? { Ok(0) } else { u.arbitrary() };
        let (eax, ebx, ecx, edx) = (register()?, register()?, register()?, register()?);
        let index = u.int_in_range(0..=2)?;
        entries.push(kvm_cpuid_entry2 {
            function,
            index,
            eax,
            ebx,
            ecx,
            edx,
            ..Default::default()
        });
    }
    let kept = filter(&entries);
    for e in &kept {
        let known = matches!(e.function, 0..=0xffff | 0x4000_0000..=0x4000_ffff | 0x8000_0000..=0x8000_ffff);
        assert!(known && !matches!(e.function, 0xa | 0x8000_000a | 0x8000_0026));
        match (e.function, e.index) {
            (1, _) => assert_eq!(e.ecx & 1 << 24, 0, "TSC deadline"),
            (7, 0) => assert_eq!((e.ebx & 2, e.edx), (0, 0), "TSC_ADJUST, speculation controls"),
            (0xd, 0 | 1) => assert_eq!(e.ebx, 0x240),
            (0x8000_001f, _) => assert_eq!((e.eax, e.ecx, e.edx), (0x1a, 0, 0)),
            (0x8000_0008, _) => assert_eq!(e.ebx & 1 << 25, 0),
            _ => {}
        }
    }
    let Ok(cpuid) = CpuId::from_entries(&kept) else { return Ok(()) };
    let table = match CpuidTable::new(&cpuid) {
        Ok(table) => table,
        Err(error) => {
            assert!(kept.len() > MAX_ENTRIES && error.0 == kept.len());
            return Ok(());
        }
    };
    assert!(kept.len() <= MAX_ENTRIES);
    let page = table.encode();
    assert_eq!(page[..4], (kept.len() as u32).to_le_bytes());
    assert!(page[16 + kept.len() * 48..].iter().all(|byte| *byte == 0), "bytes behind the table");
    let leaf7 = kept.iter().find(|e| (e.function, e.index) == (7, 0));
    let sha = leaf7.is_some_and(|e| e.ebx & 1 << 29 != 0);
    assert_eq!(cc::offers_sha(&page), sha, "the boot code reads another table");
    let mut firmware = page;
    for _ in 0..u.int_in_range(0..=5)? {
        firmware[u.int_in_range(0..=4095_usize)?] = u.arbitrary()?;
    }
    let text = CpuidTable::differences(&page, &firmware);
    assert!(!text.is_empty() && !text.contains(|c: char| c.is_control()));
    Ok(())
}

/// A plan with a part of every sort, and nothing large in it.
fn good_plan() -> LaunchPlan {
    let text = "kernel = \"k\"\nprotection = \"sev-snp\"\nvcpus = 2\n";
    let config =
        RawConfig::from_toml(text, "fuzz").and_then(RawConfig::validate).expect("a configuration");
    let boot = BootState { rip: 0x1_0000, rsp: 0x2_8000, rsi: 0x4000, cr3: 0x1000 };
    let mut plan = LaunchPlan::new(RamMap::new(64 << 20).expect("RAM"), 2, boot);
    plan.snp = config.snp;
    plan.shared.push(GpaRange::new(0x20_0000, 0x20_0000).expect("a range"));
    plan.add_pages("first page tables", PageKind::Normal, 0x1000, vec![1; 4096]).expect("room");
    plan.add_pages("CPUID page", PageKind::Cpuid, 0x5000, Vec::new()).expect("room");
    plan.stage("kernel", 0x20_0000, vec![4; 100]).expect("room");
    plan
}

/// Plans as bytes: what decodes is a plan, and encodes to the same bytes; its measurement is
/// bounded by its size.
pub fn plan(data: &[u8]) {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    let data = file(data, || GOOD.get_or_init(|| good_plan().to_bytes()).clone());
    let Ok(plan) = LaunchPlan::from_bytes(&data) else { return };
    assert_eq!(plan.to_bytes(), data, "not canonical");
    for pages in plan.pages() {
        assert!(plan.ram.covers(pages.range), "a page outside RAM");
        assert_eq!(pages.contents().len() as u64, pages.range.size());
    }
    for (_, range) in plan.staging_ranges() {
        assert!(plan.ram.covers(range), "staging outside RAM");
    }
    let pages: usize = plan.pages().iter().map(|pages| pages.each().count()).sum();
    if let Some(measurement) = measure(&plan) {
        assert_eq!(measurement.pages.len(), pages + plan.vcpus as usize);
    }
}

/// A file that is given as a kernel: the host says of it what the boot code would say, or what else
/// it is, in one line; and what it takes for a kernel goes where the parameters can put it.
pub fn kernel(data: &[u8]) {
    use casemate_hypervisor::launch::foreign::{foreign, program};
    use casemate_hypervisor::launch::kernel::{KernelFault, recognise, staged};
    use casemate_kernel::Kernel;
    use casemate_layout::map::{DEVICE_HOLE, HIGH_START};
    use casemate_layout::{KernelKind, Range};

    let file = file(data, good_elf);
    let parsed = Kernel::parse(&file);
    match recognise(&file) {
        Ok(image) => {
            let high = Range::between(HIGH_START, DEVICE_HOLE.start);
            assert!(image.memory.size != 0 && high.contains(image.memory));
            assert!(parsed.is_ok());
            let less = staged(&file).expect("recognised");
            assert_eq!(less.is_some(), image.kind == KernelKind::Elf);
            // What is staged instead of the file is the same kernel, and is staged as it is.
            if let Some(less) = less {
                assert_eq!(recognise(&less), Ok(image));
                assert_eq!(staged(&less), Ok(Some(less)));
            }
        }
        Err(fault) => {
            assert!(parsed.is_err() || !matches!(fault, KernelFault::Image(_)));
            let text = fault.to_string();
            assert!(text.len() < 400 && text.chars().all(|c| !c.is_control()), "{text:?}");
        }
    }
    // Each for itself, too: behind the parser they would see few files.
    for known in [foreign(&file), program(&file)].into_iter().flatten() {
        assert!(!known.what.is_empty() && !known.remedy.is_empty());
    }
}
