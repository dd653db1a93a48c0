#!/bin/sh
# Collects into an empty folder what the program calls, from the Debian packages iptables and nftables of the system that
# this runs on: iptables of both backends, their extensions, nft, and the shared libraries of all of these.
#
#   sh rootfs.sh FOLDER
set -eu
[ $# = 1 ] || { echo "usage: sh rootfs.sh FOLDER" >&2; exit 2; }
out=$1
mkdir -p "$out/usr/sbin" "$out/usr/local/bin"

# Programs. nft is for what kube-proxy's nftables mode may have left.
for program in xtables-nft-multi xtables-legacy-multi nft; do
  cp "/usr/sbin/$program" "$out/usr/sbin/"
done
for backend in nft legacy; do
  for family in iptables ip6tables; do
    for action in "" -save -restore; do
      ln -s xtables-$backend-multi "$out/usr/sbin/$family-$backend$action"
    done
  done
done

# Extensions: all of IPv4 and IPv6, because the rules of others on the node are read, too.
extensions=$(dirname "$(find /usr/lib -path '*/xtables/libxt_comment.so')")
mkdir -p "$out$extensions"
cp -P "$extensions"/libxt_*.so "$extensions"/libipt_*.so "$extensions"/libip6t_*.so "$out$extensions/"

# Libraries, at the paths where the loader looks for them.
libraries=$(ldd "$out"/usr/sbin/xtables-*-multi "$out/usr/sbin/nft" "$out$extensions"/*.so)
case $libraries in
  *"not found"*) echo "$libraries" | grep "not found" >&2; exit 1 ;;
esac
echo "$libraries" | awk '$2 == "=>" { print $3 } $1 ~ /^\// && NF == 2 && $1 !~ /:$/ { print $1 }' | sort -u | while read -r library; do
  mkdir -p "$out$(dirname "$library")"
  cp -L "$library" "$out$library"
done
