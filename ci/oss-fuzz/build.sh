#!/bin/bash -eu
# build.sh: builds every fuzz target into $OUT, each with its committed inputs as NAME_seed_corpus.zip. OSS-Fuzz and ClusterFuzzLite
# run it in the root of the source, with the compiler that their image pins (RUSTUP_TOOLCHAIN), whatever rust-toolchain.toml says.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
target=${CARGO_TARGET_DIR:-target/fuzz}
cargo fuzz build --fuzz-dir fuzz --features fuzzer --target-dir "$target" -O --debug-assertions
for source in fuzz/fuzz_targets/*.rs; do
	name=$(basename "$source" .rs)
	cp "$target/x86_64-unknown-linux-gnu/release/$name" "$OUT/"
	[ ! -d "fuzz/seeds/$name" ] || (cd "fuzz/seeds/$name" && zip -q -r "$OUT/${name}_seed_corpus.zip" .)
done
