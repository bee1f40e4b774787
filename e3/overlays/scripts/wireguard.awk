# The differences between peers.conf and peers.conf.applied, which have a paragraph a peer. With -v
# only=all, print new and changed paragraphs, with each secret read from the file that its line
# names; with only=keys, print their public keys; with only=gone, the public keys of removed peers.
function key(text) { sub(/.*PublicKey = /, "", text); sub(/\n.*/, "", text); return text }
function secret(file, text) { if ((getline text <file) < 1) exit 1; close(file); return text }
BEGIN {
  RS = ""; FS = "\n"
  while ((getline text <"peers.conf.applied") > 0) was[text] = key(text)
}
{ stays[key($0)] }
($0 in was) || only == "gone" { next }
only == "keys" { print key($0); next }
{
  # A peer without a PresharedKey loses the one that it had.
  shared = $1 == "[Peer]" ? "PresharedKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" : ""
  for (i = 1; i <= NF; i++) {
    name = substr($i, 1, index($i, " = ") + 2)
    if (name == "PresharedKey = ") shared = ""
    if (name ~ /^P(rivate|reshared)Key/) print name secret(substr($i, length(name) + 1))
    else print $i
  }
  print shared
}
END { if (only == "gone") for (text in was) if (!(was[text] in stays)) print was[text] }
