# Ends what its parent started, once the parent is gone in whatever way: the pipe on stdin then closes.
# Reads one order a line: started PID, ended PID, remove FOLDER, keep FILE.

# It must outlive a Ctrl-C that is meant for the parent.
trap '' INT TERM HUP QUIT

newline='
'
pids=' '
folders=
stop=
while read -r order what; do
    case $order in
    started) pids="$pids$what " ;;
    ended)
        case $pids in
        *" $what "*) pids="${pids%%" $what "*} ${pids#*" $what "}" ;;
        esac
        ;;
    remove) folders="$folders$what$newline" ;;
    keep) stop=$what ;;
    esac
done

# Kept: everything runs on until this file appears, or its folder is gone.
if [ -n "$stop" ]; then
    while [ -d "${stop%/*}" ] && [ ! -e "$stop" ]; do
        sleep 0.5
    done
fi

# Every process leads a group of its own, so that what it started goes with it.
signal() {
    for pid in $pids; do
        kill -s "$1" -- "-$pid" 2>/dev/null
    done
}
alive() {
    for pid in $pids; do
        kill -s 0 -- "-$pid" 2>/dev/null && return 0
    done
    return 1
}

signal TERM
# A suspended process sees the TERM only when it goes on.
signal CONT
tries=0
while [ "$tries" -lt 20 ] && alive; do
    sleep 0.1
    tries=$((tries + 1))
done
signal KILL

set -f
IFS=$newline
for folder in $folders; do
    # Twice: a process may have created a file while it died.
    rm -rf -- "$folder" 2>/dev/null || { sleep 0.2; rm -rf -- "$folder"; }
done
