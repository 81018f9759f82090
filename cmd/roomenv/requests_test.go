package main

import (
	"os/exec"
	"testing"
)

func TestShellWord(t *testing.T) {
	for _, word := range []string{"", "abc-1_X", "a;b", "it's", "$(id)", "a b", "x*y-", "-$HOME-"} {
		got, err := exec.Command("/bin/sh", "-c", "printf %s "+shellWord(word)).Output()
		if err != nil || string(got) != word {
			t.Errorf("%q: a shell takes %s as %q, %v", word, shellWord(word), got, err)
		}
	}
	if shellWord("65KD5NXS-a_b") != "65KD5NXS-a_b" {
		t.Error("a plain word is quoted")
	}
}
