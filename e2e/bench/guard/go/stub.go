package main

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// What the model says, unless a question holds this word: then it says what follows in hexadecimal.
const (
	say    = "SAY:"
	answer = "You can change the address of an order as long as it has not left our warehouse. " +
		"Open your account, choose the order, and press the button beside the address. " +
		"If the parcel is already on its way, the carrier can still hold it for you at a shop. " +
		"Tell us the number of the order and we will gladly do it for you right now."
)

// model answers in Triton's generate extension and in OpenAI's chat completions.
type model struct {
	delay time.Duration
}

func serve(arguments []string) error {
	flags := flag.NewFlagSet("stub", flag.ExitOnError)
	address := flags.String("address", "127.0.0.1:0", "where to listen")
	delay := flags.Duration("delay", 0, "how long an answer takes")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	stub := model{delay: *delay}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /v2/health/{what}", ready)
	routes.HandleFunc("GET /v2/models/{name}/ready", ready)
	routes.HandleFunc("GET /v2/models/{name}/config", config)
	routes.HandleFunc("POST /v2/models/{name}/generate", stub.generate)
	routes.HandleFunc("POST /v2/models/{name}/generate_stream", stub.generateStream)
	routes.HandleFunc("POST /v1/chat/completions", stub.chat)
	return http.ListenAndServe(*address, routes)
}

func ready(http.ResponseWriter, *http.Request) {}

// config says that `model` gives its answers in parts, as vLLM's backend does, and all others whole.
func config(writer http.ResponseWriter, request *http.Request) {
	name := request.PathValue("name")
	writer.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(writer, `{"name":%s,"model_transaction_policy":{"decoupled":%t}}`, quote(name), name == "model")
}

func (stub model) generate(writer http.ResponseWriter, request *http.Request) {
	said, _ := stub.read(writer, request)
	writer.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(writer, `{"model_name":"model","model_version":"1","text_output":%s}`, quote(said))
}

func (stub model) generateStream(writer http.ResponseWriter, request *http.Request) {
	said, _ := stub.read(writer, request)
	stream(writer, said, func(word string) string {
		return `{"model_name":"model","model_version":"1","text_output":` + quote(word) + `}`
	})
}

func (stub model) chat(writer http.ResponseWriter, request *http.Request) {
	said, streaming := stub.read(writer, request)
	if streaming {
		event := func(delta, finish string) string {
			return `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,` +
				`"model":"model","choices":[{"index":0,"delta":` + delta + `,"finish_reason":` + finish + `}]}`
		}
		stream(writer, said, func(word string) string {
			return event(`{"role":"assistant","content":`+quote(word)+`}`, "null")
		}, event("{}", `"stop"`), "[DONE]")
		return
	}
	writer.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(writer, `{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"model",`+
		`"choices":[{"index":0,"message":{"role":"assistant","content":%s},"finish_reason":"stop"}],`+
		`"usage":{"prompt_tokens":60,"completion_tokens":60,"total_tokens":120}}`, quote(said))
}

// read returns what the model says to a request, and whether it shall say it word by word.
func (stub model) read(writer http.ResponseWriter, request *http.Request) (string, bool) {
	var asked struct {
		Stream   bool   `json:"stream"`
		Text     string `json:"text_input"`
		Messages []struct {
			Content string `json:"content"`
		} `json:"messages"`
	}
	if err := json.NewDecoder(request.Body).Decode(&asked); err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
	}
	time.Sleep(stub.delay)
	question := asked.Text
	if last := len(asked.Messages) - 1; last >= 0 {
		question = asked.Messages[last].Content
	}
	if _, rest, found := strings.Cut(question, say); found {
		if said, err := hex.DecodeString(strings.Fields(rest)[0]); err == nil {
			return string(said), asked.Stream
		}
	}
	return answer, asked.Stream
}

// stream sends one event for each word, each by itself, as a model that makes them one by one.
func stream(writer http.ResponseWriter, said string, event func(string) string, last ...string) {
	writer.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	send := func(data string) {
		io.WriteString(writer, "data: "+data+"\n\n")
		writer.(http.Flusher).Flush()
	}
	for word := range strings.SplitAfterSeq(said, " ") {
		send(event(word))
	}
	for _, data := range last {
		send(data)
	}
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}
