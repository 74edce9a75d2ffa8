// The two ends of the guard's bench: a stub model that answers at once, and the users who ask.
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch command := append(os.Args, "", "")[1]; command {
	case "stub":
		err = serve(os.Args[2:])
	case "ask":
		err = ask(os.Args[2:])
	default:
		err = fmt.Errorf("%q is neither stub nor ask", command)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
