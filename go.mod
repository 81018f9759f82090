module github.com/roomenv/roomenv

go 1.26
