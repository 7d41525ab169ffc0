//! The lock of a confidential VM's vmm process: the hypervisor's own test program in the virtual
//! SNP host.

use casemate_e2e::run_test_program;
use casemate_test_host::Kind;

#[test]
fn confidential_profile_allows_what_a_boot_uses_and_nothing_else() {
    let output = run_test_program(Kind::Snp, "vmm_snp_lock", "");
    assert!(output.contains("every rule was used"), "{output}");
}
