//! What these tests protect: an IGVM file's large pages, its own ID block, and the places where KVM
//! launches something else than it says. Files are written here, byte by byte. What they cannot
//! tell: what a VMM other than one on KVM does with such a file.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod common;

use casemate_attestation::digest::{LaunchDigest, MeasuredPage, PageKind, VMSA_GPA, VcpuState};
use casemate_attestation::idblock::{self, IdBlock, IdError, OwnerKey};
use casemate_attestation::measure::{
    IgvmLaunch, KernelHashes, Machine, MeasureError, Ovmf, Vmm, igvm_launch, igvm_measure,
};

const POLICY: u64 = 0x30000;
const LARGE: usize = 2 << 20;

/// An IGVM file: variable headers, and data behind them.
#[derive(Default)]
struct File {
    headers: Vec<(u32, Vec<u8>)>,
    data: Vec<u8>,
    /// Headers whose body has, at this offset, an offset into the data.
    places: Vec<(usize, usize, usize)>,
}

impl File {
    fn new() -> Self {
        // SEV-SNP under mask 1, and its guest policy.
        let platform = [1u32.to_le_bytes().to_vec(), vec![0, 2, 1, 0], vec![0; 8]].concat();
        let policy = [POLICY.to_le_bytes().to_vec(), 1u32.to_le_bytes().to_vec(), vec![0; 4]];
        Self { headers: vec![(1, platform), (0x101, policy.concat())], ..Self::default() }
    }

    fn place(mut self, at: usize, data: &[u8]) -> Self {
        if !data.is_empty() {
            self.places.push((self.headers.len() - 1, at, self.data.len()));
            self.data.extend(data);
        }
        self
    }

    fn page(mut self, gpa: u64, flags: u32, kind: u32, data: &[u8]) -> Self {
        let words = [1, 0, flags, kind].map(u32::to_le_bytes).concat();
        self.headers.push((0x302, [gpa.to_le_bytes().to_vec(), words].concat()));
        self.place(12, data)
    }

    fn vcpu(mut self, gpa: u64, page: &[u8; 4096]) -> Self {
        let words = [1u32, 0, 0, 0].map(u32::to_le_bytes).concat();
        self.headers.push((0x304, [gpa.to_le_bytes().to_vec(), words].concat()));
        self.place(12, page)
    }

    fn bytes(&self) -> Vec<u8> {
        let size: usize = self.headers.iter().map(|(_, body)| 8 + body.len()).sum();
        let data = 24 + size;
        let mut variable = Vec::new();
        for (index, (kind, body)) in self.headers.iter().enumerate() {
            let mut body = body.clone();
            for (_, at, offset) in self.places.iter().filter(|(header, ..)| *header == index) {
                let offset = u32::try_from(data + offset).unwrap();
                body[*at..at + 4].copy_from_slice(&offset.to_le_bytes());
            }
            let length = u32::try_from(body.len()).unwrap();
            variable.extend([kind.to_le_bytes(), length.to_le_bytes()].concat());
            variable.extend(body);
        }
        let word = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
        let total = data + self.data.len();
        let mut head =
            [b"IGVM".to_vec(), [word(1), word(24), word(size), word(total), word(0)].concat()]
                .concat();
        let crc = !head.iter().chain(&variable).fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1))
            })
        });
        head[20..24].copy_from_slice(&crc.to_le_bytes());
        [head, variable, self.data.clone()].concat()
    }

    fn launch(&self) -> IgvmLaunch {
        igvm_launch(&self.bytes()).unwrap()
    }
}

fn kvm_page() -> [u8; 4096] {
    VcpuState::kvm_reset().vmsa_page(1)
}

#[test]
fn a_page_of_two_mebibytes_is_measured_as_its_small_pages() {
    let contents: Vec<u8> = (0..LARGE).map(|at| (at / 4096 % 251).to_le_bytes()[0]).collect();
    let file = File::new().page(0x20_0000, 1, 0, &contents).page(0x40_0000, 1, 0, &[]);
    let mut digest = LaunchDigest::new();
    digest.pages(PageKind::Normal, 0x20_0000, &contents).unwrap();
    digest.pages(PageKind::Normal, 0x40_0000, &vec![0; LARGE]).unwrap();
    assert_eq!(file.launch().digest, digest.finish());
    // The other way round: 512 headers of one page each.
    let small = (0..512).fold(File::new(), |file, page| {
        file.page(0x20_0000 + 4096 * page as u64, 0, 0, &contents[4096 * page..4096 * (page + 1)])
    });
    assert_eq!(small.launch().digest, File::new().page(0x20_0000, 1, 0, &contents).launch().digest);
    let rule = |file: File| match igvm_launch(&file.bytes()) {
        Err(MeasureError::Igvm { rule, .. }) => rule,
        other => panic!("{other:?}"),
    };
    assert!(rule(File::new().page(0x1000, 1, 0, &contents)).contains("no multiple of 2 MiB"));
    assert!(rule(File::new().page(0x20_0000, 1, 1, &contents)).contains("kind that has 4 KiB"));
    assert!(rule(File::new().page(0x20_0000, 1, 0, &contents[4096..])).contains("outside"));
}

/// The header of an ID block that names `digest`, signed for `policy`.
fn id_block(digest: [u8; 48], policy: u64, key: &OwnerKey, author: Option<&OwnerKey>) -> Vec<u8> {
    let block = IdBlock {
        launch_digest: digest,
        family_id: [1; 16],
        image_id: [2; 16],
        guest_svn: 3,
        policy,
    };
    let auth = idblock::authenticate(&block, key, author).unwrap();
    let enabled = u32::from(author.is_some());
    // Curve, a reserved word, then the coordinates, which the firmware has right behind the curve.
    let key = |at: usize| [&auth[at..at + 4], &[0; 4], &auth[at + 4..at + 148]].concat();
    [
        [1, enabled].map(u32::to_le_bytes).concat(),
        digest.to_vec(),
        vec![1; 16],
        vec![2; 16],
        [1u32, 3].map(u32::to_le_bytes).concat(),
        auth[..8].to_vec(),
        auth[0x40..0x40 + 144].to_vec(),
        key(0x240),
        auth[0x680..0x680 + 144].to_vec(),
        key(0x880),
    ]
    .concat()
}

#[test]
fn the_files_own_id_block_is_held_against_the_digest_and_its_signatures() {
    let file = || File::new().page(0x1000, 0, 0, &[7; 4096]);
    let digest = file().launch().digest;
    assert_eq!(file().launch().id_block, None);
    let (key, author) = (OwnerKey::generate().unwrap(), OwnerKey::generate().unwrap());
    let with = |body: Vec<u8>| {
        let mut file = file();
        file.headers.push((0x30B, body));
        let launch = file.launch();
        assert_eq!(launch.digest, digest, "it is not measured");
        launch.id_block.unwrap()
    };
    let good = with(id_block(digest, POLICY, &key, None));
    assert_eq!(good.launch_digest, digest);
    assert_eq!(good.signed.unwrap().id_key, key.digest());
    let both = with(id_block(digest, POLICY, &key, Some(&author))).signed.unwrap();
    assert_eq!(both.author_key, Some(author.digest()));
    assert_eq!(with(id_block([9; 48], POLICY, &key, None)).launch_digest, [9; 48]);
    let other_policy = with(id_block(digest, POLICY | 1 << 19, &key, None));
    assert!(matches!(other_policy.signed, Err(IdError::Signature(_))));
    let mut altered = id_block(digest, POLICY, &key, None);
    altered[110] ^= 1;
    assert!(matches!(with(altered).signed, Err(IdError::Signature(_))));
    let mut version = id_block(digest, POLICY, &key, None);
    version[88] = 2;
    assert_eq!(with(version).signed, Err(IdError::Version(2)));
    let mut twice = file();
    let body = id_block(digest, POLICY, &key, None);
    twice.headers.extend([(0x30B, body.clone()), (0x30B, body.clone())]);
    igvm_launch(&twice.bytes()).unwrap_err();
    let mut short = file();
    short.headers.push((0x30B, body[..688].to_vec()));
    igvm_launch(&short.bytes()).unwrap_err();
}

#[test]
fn what_kvm_would_launch_otherwise_is_told() {
    let code = [0x90; 4096];
    let file = |page: &[u8; 4096]| File::new().page(0x1000, 0, 0, &code).vcpu(VMSA_GPA, page);
    assert_eq!(file(&kvm_page()).launch().kvm, Vec::<String>::new());
    // A register that a VMM can set makes no difference.
    let mut rip = kvm_page();
    rip[0x178] = 0x34;
    assert!(file(&rip).launch().kvm.is_empty());
    for (at, to, wanted) in [
        (0x149, 0xff, None),
        (0x148, 0, Some("(CR4)")),
        (0xd1, 0, Some("(EFER)")),
        (0x3b0, 0, Some("(SEV_FEATURES)")),
        (0x3c8, 1, Some("(VIRTUAL_TOM)")),
        (0x240, 1, Some("(CR2)")),
        (0xcb, 3, Some("CPL")),
        (0x420, 1, Some("XMM")),
        (0xfff, 1, Some("0xfff")),
    ] {
        let mut page = kvm_page();
        page[at] = to;
        let told = file(&page).launch().kvm;
        match wanted {
            None => assert!(told.is_empty(), "{at:#x}: {told:?}"),
            Some(wanted) => assert!(told.len() == 1 && told[0].contains(wanted), "{told:?}"),
        }
    }
    let elsewhere = File::new().vcpu(0x8000, &kvm_page()).launch().kvm;
    assert!(elsewhere[0].contains("0x8000"), "{elsewhere:?}");
    let early = File::new().vcpu(VMSA_GPA, &kvm_page()).page(0x1000, 0, 0, &code).launch().kvm;
    assert!(early[0].contains("after all pages"), "{early:?}");
    assert!(file(&[0xff; 4096]).launch().kvm.len() <= 16, "bounded");
}

/// The digest of the pages that were remembered.
fn folded(pages: &[MeasuredPage]) -> [u8; 48] {
    pages.iter().fold([0; 48], |ld: [u8; 48], page| {
        let info = [
            &ld[..],
            &page.contents,
            &[0x70, 0, page.kind as u8, 0, 0, 0, 0, 0],
            &page.gpa.to_le_bytes(),
        ];
        ring::digest::digest(&ring::digest::SHA384, &info.concat()).as_ref().try_into().unwrap()
    })
}

#[test]
fn the_pages_that_are_listed_are_those_that_make_the_digest() {
    let file = File::new().page(0x1000, 0, 0, &[7; 4096]).page(0x4000, 0, 1, &[]);
    let file = file.page(0x20_0000, 1, 0, &[]).vcpu(VMSA_GPA, &kvm_page());
    let mut digest = LaunchDigest::traced();
    let launch = igvm_measure(&file.bytes(), &mut digest).unwrap();
    assert_eq!(digest.trace().len(), 1 + 1 + 512 + 1);
    assert_eq!(folded(digest.trace()), launch.digest);
    let image = common::read("measure/ovmf_AmdSev_suffix.bin");
    for vmm in [Vmm::Qemu, Vmm::Ec2, Vmm::Gce] {
        let machine = Machine {
            vmm,
            ovmf: Ovmf::parse(&image).unwrap(),
            vcpus: 3,
            signature: 0x80_0f12,
            sev_features: 1,
            hashes: Some(KernelHashes::new(b"kernel", b"", "")),
        };
        let mut digest = LaunchDigest::traced();
        machine.measure(&mut digest).unwrap();
        assert_eq!(folded(digest.trace()), machine.launch_digest().unwrap(), "{vmm:?}");
    }
}

#[test]
fn sev_features_of_zero_stay_zero_where_they_are_given_and_kvm_sets_snp_active() {
    let state = VcpuState::kvm_reset();
    assert_eq!(state.vmsa_page_with(0)[0x3b0], 0);
    assert_eq!(state.vmsa_page_with(0x21)[0x3b0], 0x21);
    assert_eq!(state.vmsa_page(0)[0x3b0], 1);
    let image = common::read("measure/ovmf_AmdSev_suffix.bin");
    let digest = |sev_features| {
        let ovmf = Ovmf::parse(&image).unwrap();
        let (vmm, vcpus, signature, hashes) = (Vmm::Qemu, 1, 0x80_0f12, None);
        Machine { vmm, ovmf, vcpus, signature, sev_features, hashes }.launch_digest().unwrap()
    };
    assert_ne!(digest(0), digest(1));
}
