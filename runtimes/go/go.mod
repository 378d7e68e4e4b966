module hearth.dev/runtime

go 1.18
