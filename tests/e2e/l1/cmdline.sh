# Guests whose kernel tells what it made of its command line. Each line carries many words, since a guest takes seconds;
# what ends a line (a quote that is not closed, `--`) has lines of its own. No name here is known to Linux, but for
# firmware_class.path, which can be read back.
number=0
verbosity="quiet loglevel=1"
while IFS= read -r line; do
	number=$((number + 1))
	head -c 65536 /dev/zero >"/out/line-$number.results"
	run "line-$number" "args $line" --disk "path=/out/line-$number.results" </dev/null
done <<'LINES'
zza=1 zzb="2 3" zzc=4"5 6"7 zzd="8"9 zze="" zzf= "zzg=10 11" "zzh i" zzj"k l"m =zzn =zzo=p zzp==q zzr=s=t "zzu"=v zzw="x=y z"
   zza    zzb=1   "zzc"    "zzd=e"  zzf=""g" h"    zzi="j""k" zzl=m" n" "zzo=p"q" r "zzs="t u""
zza=1 zzb zza=2 firmware_class.path=/one zza=3 firmware-class.path=/two zzc=-_- "firmware_class.path=/a b" zzb zzd
firmware_class.path="/c d" zza -- zzb zzc=1 "zzd e" zzf="g h" firmware_class.path=/not -- zzi zzj=2
zza "--" zzb zzc="d e"
zza --=1 --zzb zzc=-- "-- zzd" -zze - _ zzf
zza firmware_class.path=/x zzb="c d zze=f
zza "zzb c=d e
zza=à zzb zzc= zzd "zzeàf" zzg="à h"
zza="
""
"zza="b c" d" zze="f"g"h" zzi""j k"" """zzl "zzm""n" zzo
LINES
