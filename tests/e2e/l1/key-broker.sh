#!/bin/sh
# A key broker as its owner has it, and guests of this host that ask it. Each part begins with "== NAME"; what is here and not in
# the image is /release.toml, a policy in which HOST_DATA is to be filled in.
mkdir /v
chmod 755 /v
casemate kbs init /kbs >/dev/null
# Its socket in a folder of its own; it believes this host's MODEL, whose certificate guests on this kernel do not send.
sed -i -e 's|^listen = .*|listen = ["unix:/v/kbs"]|' -e 's|^policy = |accept_model_root = "/etc/snp-model/ark-ask.pem"\npolicy = |' \
	/kbs/kbs.toml
cp /etc/snp-model/vcek.der /kbs/certs/
kbs() { casemate kbs "$@" --config /kbs; }
pin=$(kbs pin | sed -n 1p)
printf 'the key of the disk' | kbs put acme/db/key
printf trust | kbs put acme/db/motto
host_data=$(casemate image initdata /img/app --policy /launch.toml --kbs-key "$pin")
serve() { # POLICY
	sed "s/HOST_DATA/$host_data/" "$1" >/kbs/policy.toml
	: >/tmp/ready
	casemate kbs serve --config /kbs >/tmp/ready 2>>/tmp/words &
	broker=$!
	until [ -s /tmp/ready ]; do kill -0 $broker || return 1; usleep 100000; done
	cat /tmp/ready
}
stop() {
	kill -TERM $broker
	wait $broker
	echo "broker ended $?, left: $(ls -A /v)"
}
run() { # IMAGE
	casemate run "/img/$1" --shape 1x256M --policy "${launch:-/launch.toml}" --timeout 600s --kbs unix:/v/kbs --kbs-key "$pin" 2>&1
	echo "status=$?"
}

echo "== ready $host_data $pin"
serve /release.toml
ls -l /v/kbs | cut -c1-10
echo "== narrow"
launch=/narrow.toml run app
echo "== first"
run app
echo "== other"
run other
echo "== revoked"
kbs revoke acme/db/motto 1
run app
stop
echo "== uses"
serve /once.toml
run app
stop
echo "== away"
run app
echo "== log"
kbs log --verify
kbs log
echo "== words"
cat /tmp/words
echo "== left $(ps | grep -c '[c]asemate')"
