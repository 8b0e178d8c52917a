"""The merkle log: tree, hashes, proofs and their verification, codecs of what is kept of them."""
