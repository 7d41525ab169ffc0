//! The stable codes of all checks, in the order in which they are made.

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($variant:ident $code:literal $title:literal $remedy:literal;)*) => {
        /// A check. Codes never change meaning; new ones are added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $title] $variant,)* }

        impl Code {
            /// All checks in the order in which they are made.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable code, which scripts compare; the title may change.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// What is checked, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What to do when it fails.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)* }
            }
        }
    };
}

const _: () = assert!(Code::ALL.len() <= 128, "`Checks::skip_missing` has a bit for each");

codes! {
    ReportLength "REPORT_LENGTH" "length of the report" "pass the 1184 bytes that the firmware returned";
    ReportVersion "REPORT_VERSION" "version of the report" "update casemate, or accept newer versions with --allow-newer";
    SignatureAlgorithm "SIGNATURE_ALGORITHM" "signature algorithm" "ask the guest for a new report: only ECDSA P-384 is defined";
    ReportFlags "REPORT_FLAGS" "flags of the report" "ask the guest for a new report: undefined flags are set";
    SigningKey "SIGNING_KEY" "signing key kind against chain kind" "give the VCEK for a VCEK report and the VLEK for a VLEK report; unmask the chip key";
    Generation "GENERATION" "generation of report, issuer and certificate" "give the certificate of the processor that made the report";
    ReportReserved "REPORT_RESERVED" "reserved bytes are zero" "the report was altered or is of a newer format: ask for a new one";
    SignatureEncoding "SIGNATURE_ENCODING" "upper bytes of r and s are zero" "the report was altered: ask for a new one";
    SignatureRange "SIGNATURE_RANGE" "r and s between 1 and n-1" "the report was altered: ask for a new one";
    TcbOrder "TCB_ORDER" "reported <= committed <= current TCB" "the firmware never reports this: ask for a new report";
    AuthorKeyFlag "AUTHOR_KEY_FLAG" "author key flag and digest agree" "the firmware never reports this: ask for a new report";
    VekPresent "VEK_PRESENT" "endorsement certificate at hand" "give --cert, or import it with `casemate attest certs`";
    VekParse "VEK_PARSE" "endorsement certificate is well-formed" "fetch the certificate again from the address shown";
    VekName "VEK_NAME" "endorsement certificate's names" "give a VCEK or VLEK certificate issued by AMD";
    VekKey "VEK_KEY" "endorsement key is P-384" "give a VCEK or VLEK certificate issued by AMD";
    VekExtensions "VEK_EXTENSIONS" "endorsement certificate's extensions" "fetch the certificate again from the address shown";
    ArkPinned "ARK_PINNED" "root key is pinned" "only AMD's root keys are trusted, or a MODEL root given with --accept-model-root";
    ArkSignature "ARK_SIGNATURE" "root certificate signs itself" "do not replace the built-in root certificate";
    IntermediateSignature "ASK_SIGNATURE" "ASK or ASVK is signed by the root" "remove the wrong ASK or ASVK from the store";
    VekSignature "VEK_SIGNATURE" "endorsement certificate is signed by ASK or ASVK" "fetch the certificate again from the address shown";
    KeyUsage "KEY_USAGE" "CA certificates may sign certificates" "remove the wrong CA certificate from the store";
    ArkValidity "ARK_VALIDITY" "root certificate valid at the time" "check the clock, or give --at";
    IntermediateValidity "ASK_VALIDITY" "ASK or ASVK valid at the time" "check the clock, or give --at";
    VekValidity "VEK_VALIDITY" "endorsement certificate valid at the time" "fetch a current certificate, or give --at";
    CrlParse "CRL_PARSE" "revocation list is well-formed" "fetch the revocation list again";
    CrlIssuer "CRL_ISSUER" "revocation list is the root's" "give the CRL of this generation's ARK";
    CrlSignature "CRL_SIGNATURE" "revocation list is signed by the root" "fetch the revocation list again";
    CrlFreshness "CRL_FRESHNESS" "revocation list is current" "fetch the revocation list again";
    CrlRevoked "CRL_REVOKED" "ASK or ASVK is not revoked" "the chain is revoked: trust nothing under it";
    TcbMatch "TCB_MATCH" "reported TCB is the certificate's" "fetch the VEK for the reported TCB";
    ChipId "CHIP_ID" "chip of report and certificate" "give the VCEK of the chip that made the report";
    ReportSignature "REPORT_SIGNATURE" "signature of the report" "the report was altered, or the certificate is another chip's or TCB's";
    GenerationAllowed "GENERATION_ALLOWED" "generation is allowed, its root not broken" "run on an allowed generation, or allow this one";
    ChipAllowed "CHIP_ALLOWED" "chip is allowed" "run on an allowed chip, or allow this one";
    KeyKindAllowed "KEY_KIND_ALLOWED" "endorsement key kind is allowed" "allow this kind, or use the other";
    CspAllowed "CSP_ALLOWED" "cloud provider is allowed" "allow this provider's identifier";
    CrlRequired "CRL_REQUIRED" "a revocation list was checked" "give --crl, or import it with `casemate attest certs`";
    Vmpl "VMPL" "privilege level of the requester" "request the report from the allowed VMPL";
    PolicyAbi "POLICY_ABI" "ABI version of the guest policy" "launch the guest with the required ABI version";
    PolicyReserved "POLICY_RESERVED" "bit 17 of the guest policy is one" "the firmware never accepts this: ask for a new report";
    PolicySmt "POLICY_SMT" "guest policy: SMT" "launch the guest with this bit as required";
    PolicyMigrateMa "POLICY_MIGRATE_MA" "guest policy: migration agent" "launch the guest with migration off";
    PolicyDebug "POLICY_DEBUG" "guest policy: debug" "launch the guest with debug off";
    PolicySingleSocket "POLICY_SINGLE_SOCKET" "guest policy: single socket" "launch the guest with this bit as required";
    PolicyCxl "POLICY_CXL" "guest policy: CXL" "launch the guest with this bit as required";
    PolicyXts "POLICY_MEM_AES_256_XTS" "guest policy: AES-256-XTS" "launch the guest with this bit as required";
    PolicyRapl "POLICY_RAPL_DIS" "guest policy: power measurement off" "launch the guest with this bit as required";
    PolicyCiphertext "POLICY_CIPHERTEXT_HIDING" "guest policy: ciphertext hiding" "launch the guest with this bit as required";
    PolicyPageSwap "POLICY_PAGE_SWAP_DISABLE" "guest policy: page swap off" "launch the guest with this bit as required";
    PolicyUnknown "POLICY_UNKNOWN_BITS" "guest policy has no unknown bits" "update casemate, or allow these bits by mask";
    PlatformRequired "PLATFORM_REQUIRED" "platform bits that must be one" "configure the host as required";
    PlatformForbidden "PLATFORM_FORBIDDEN" "platform bits that must be zero" "configure the host as required";
    PlatformUnknown "PLATFORM_UNKNOWN_BITS" "platform information has no unknown bits" "update casemate to know their meaning";
    MitigationLaunch "MITIGATION_LAUNCH" "mitigations at launch" "update the host's firmware and launch again";
    MitigationCurrent "MITIGATION_CURRENT" "mitigations now" "update the host's firmware";
    TcbFloorReported "TCB_FLOOR_REPORTED" "reported TCB is high enough" "update the host's firmware and commit it";
    TcbFloorCommitted "TCB_FLOOR_COMMITTED" "committed TCB is high enough" "commit the host's firmware";
    TcbFloorLaunch "TCB_FLOOR_LAUNCH" "TCB at launch is high enough" "launch the guest again on the updated host";
    TcbFloorCurrent "TCB_FLOOR_CURRENT" "current TCB is high enough" "update the host's firmware";
    FirmwareVersion "FIRMWARE_VERSION" "committed firmware version is high enough" "update the host's firmware and commit it";
    FirmwareCommitted "FIRMWARE_COMMITTED" "no provisional firmware" "commit the host's firmware";
    IdKey "ID_KEY" "ID key digest" "launch with an ID block signed by an allowed key";
    AuthorKey "AUTHOR_KEY" "author key digest" "launch with an author key that is allowed";
    FamilyId "FAMILY_ID" "family identifier" "launch with the ID block of an allowed family";
    ImageId "IMAGE_ID" "image identifier" "launch with the ID block of an allowed image";
    GuestSvn "GUEST_SVN" "security version of the guest" "launch a newer image";
    Measurement "MEASUREMENT" "launch measurement" "compare with `casemate measure` of what should run";
    HostData "HOST_DATA" "host data" "launch with the expected host data";
    ReportId "REPORT_ID" "report identifier" "this is another guest instance";
    ReportData "REPORT_DATA" "report data, all 64 bytes; on Azure the nonce" "ask for a report with this nonce";
    AzureClaims "AZURE_CLAIMS" "REPORT_DATA is the hash of the Azure claims" "the claims were altered, or are another report's: ask for new evidence";
    AzureClaimsForm "AZURE_CLAIMS_FORM" "Azure claims are well-formed" "ask for new evidence, or update casemate";
    AzureAk "AZURE_AK" "attestation key of the vTPM" "allow this key, or use the VM whose key is allowed";
    AzureVmId "AZURE_VM_ID" "vmUniqueId of the Azure claims" "this is another VM";
    AzureSecureBoot "AZURE_SECURE_BOOT" "secure boot of the Azure claims" "configure the VM as required";
    VtpmQuote "VTPM_QUOTE" "quote of the vTPM is well-formed" "ask for new evidence";
    VtpmSignature "VTPM_SIGNATURE" "quote is signed by the claims' attestation key" "the quote was altered, or is another VM's";
    VtpmPcrs "VTPM_PCRS" "register values are those of the quote" "the register values were altered: ask for new evidence";
    VtpmPcrValues "VTPM_PCR_VALUES" "register values are allowed" "boot what the values are of, or allow these";
    Policy "POLICY" "the isolation policy admits the report" "change what the rule names; `casemate policy why-not` says what";
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
