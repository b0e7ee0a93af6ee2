// Checks a log with code that is not Loggia's: note signatures, Merkle tree, inclusion and
// consistency proofs are those of golang.org/x/mod, cosignatures those of the standard library.
//
// usage: independent LOG_FOLDER LOG_KEY [WITNESS_KEY]...
package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

type folder string

func (f folder) Height() int { return height }

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(string(f), place(tile)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// The library writes the height into the path; C2SP does not.
func place(tile tlog.Tile) string {
	return "tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
}

// A cosignature of type 4: a time, and Ed25519 over the time and the text.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (w witness) Name() string    { return w.name }
func (w witness) KeyHash() uint32 { return w.hash }
func (w witness) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	time := binary.BigEndian.Uint64(sig)
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", time, msg)
	return ed25519.Verify(w.key, []byte(message), sig[8:])
}

func parseWitness(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a key")
	}
	hash, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 4 {
		return nil, errors.New("not an Ed25519 witness")
	}
	return witness{parts[0], uint32(hash), key[1:]}, nil
}

func open(path string, verifiers []note.Verifier) (tlog.Tree, int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, 0, err
	}
	opened, err := note.Open(data, note.VerifierList(verifiers...))
	if err != nil {
		return tlog.Tree{}, 0, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifiers[0].Name() || opened.Sigs[0].Name != lines[0] {
		return tlog.Tree{}, 0, errors.New("not a checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, 0, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tlog.Tree{}, 0, errors.New("no root")
	}
	return tlog.Tree{N: size, Hash: tlog.Hash(root)}, len(opened.Sigs) - 1, nil
}

func run(dir string, keys []string) error {
	log, err := note.NewVerifier(keys[0])
	if err != nil {
		return err
	}
	verifiers := []note.Verifier{log}
	for _, vkey := range keys[1:] {
		verifier, err := parseWitness(vkey)
		if err != nil {
			return err
		}
		verifiers = append(verifiers, verifier)
	}
	tree, _, err := open(filepath.Join(dir, "checkpoint"), verifiers)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	reader := tlog.TileHashReader(tree, folder(dir))
	for first := int64(0); first < tree.N; first += 1 << height {
		width := min(int64(1<<height), tree.N-first)
		tile := tlog.Tile{H: height, L: 0, N: first >> height, W: int(width)}
		path := "tile/entries/" + strings.TrimPrefix(place(tile), "tile/0/")
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		for index := first; index < first+width; index++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return fmt.Errorf("entry %d is cut", index)
			}
			length := int(binary.BigEndian.Uint16(data))
			entry := data[2 : 2+length]
			data = data[2+length:]
			proof, err := tlog.ProveRecord(tree.N, index, reader)
			if err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
				return fmt.Errorf("entry %d is not in the tree: %w", index, err)
			}
		}
		if len(data) != 0 {
			return fmt.Errorf("%s: more than its entries", path)
		}
	}
	cosigned, signatures, err := open(filepath.Join(dir, "cosigned"), verifiers)
	if err != nil && !(errors.Is(err, os.ErrNotExist) && len(keys) == 1) {
		return fmt.Errorf("cosigned: %w", err)
	}
	if err == nil {
		proof, err := tlog.ProveTree(tree.N, cosigned.N, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, cosigned.N, cosigned.Hash); err != nil {
			return fmt.Errorf("the cosigned tree is not in the log: %w", err)
		}
	}
	fmt.Printf("OK size=%d cosigned=%d cosignatures=%d\n", tree.N, cosigned.N, signatures)
	return nil
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: independent LOG_FOLDER LOG_KEY [WITNESS_KEY]...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Println("FAIL:", err)
		os.Exit(1)
	}
}
