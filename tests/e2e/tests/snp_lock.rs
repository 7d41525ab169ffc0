//! The lock of a confidential VM's vmm process: the hypervisor's own test program in the virtual
//! SNP host.

use casemate_e2e::{initrd, place, run_test_program_with};
use casemate_test_host::Kind;

#[test]
#[allow(clippy::expect_used, reason = "test code")]
fn confidential_profile_allows_what_a_boot_with_a_disk_uses_and_nothing_else() {
    let place = place("snp-lock").expect("a folder");
    let guest = place.join("initrd");
    initrd(&guest, "lock-workload.sh", &["drivers/block/virtio_blk"]).expect("an initrd");
    let output = run_test_program_with(Kind::Snp, "vmm_snp_lock", "", &[(&guest, "/d/initrd")]);
    let _ = std::fs::remove_dir_all(&place);
    assert!(output.contains("every rule was used"), "{output}");
}
