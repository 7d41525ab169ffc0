#!/bin/sh
# workload.sh [FILE]: the demo's workload, inside the guest: count, least, mean and greatest value per sensor of FILE
# (/casemate/input).
set -eu
input=${1:-/casemate/input}
echo "workload: $(wc -l < "$input") lines, sha256 $(sha256sum < "$input" | cut -d' ' -f1)"
awk -F, '
	NR == 1 { next }
	NF != 2 || $2 + 0 != $2 { print "line " NR " is not sensor,value: " $0; bad = 1; exit 4 }
	{ n[$1]++; sum[$1] += $2
	  if (n[$1] == 1 || $2 < min[$1]) min[$1] = $2
	  if (n[$1] == 1 || $2 > max[$1]) max[$1] = $2 }
	END {
		if (bad) exit 4
		printf "%-10s %6s %8s %8s %8s\n", "sensor", "count", "least", "mean", "greatest"
		for (s in n) printf "%-10s %6d %8.2f %8.2f %8.2f\n", s, n[s], min[s], sum[s] / n[s], max[s] | "sort"
		close("sort")
	}' "$input"
