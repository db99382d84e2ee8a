// A site of recipes in one static program, with files beside it.
package main

import (
	"archive/zip"
	"compress/gzip"
	"crypto/x509"
	"embed"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html/template"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"strings"
	"time"
)

//go:embed pages/*.html
var files embed.FS

var pages = template.Must(template.ParseFS(files, "pages/*.html"))

type dish struct {
	XMLName xml.Name `xml:"dish" json:"-"`
	Name    string   `xml:"name" json:"name"`
	Price   float64  `xml:"price,attr" json:"price"`
}

var dishes = []dish{{Name: "gratin", Price: 4.5}, {Name: "soup", Price: 3}, {Name: "crème", Price: 6.25}}

func main() {
	command := "serve"
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	switch command {
	case "serve":
		serve()
	case "user":
		found, err := user.Lookup(os.Args[2])
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(found.Uid, found.HomeDir)
	case "host":
		found, err := net.LookupHost(os.Args[2])
		fmt.Println(found, err)
	case "service":
		port, err := net.LookupPort("tcp", os.Args[2])
		fmt.Println(port, err)
	case "roots":
		pool, err := x509.SystemCertPool()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(pool.Subjects()) > 50) //nolint:staticcheck
	case "shell":
		out, err := exec.Command("/bin/sh", "-c", "echo \"$0\"", "leek").Output()
		fmt.Print(string(out))
		if err != nil {
			log.Fatal(err)
		}
	case "zip":
		out := zip.NewWriter(os.Stdout)
		file, _ := out.Create("leek.txt")
		_, _ = io.WriteString(file, "leek")
		_ = out.Close()
	default:
		log.Fatalf("there is no %s", command)
	}
}

func serve() {
	mux := http.NewServeMux()
	mux.Handle("/public/", http.StripPrefix("/public/", http.FileServer(http.Dir("public"))))
	mux.HandleFunc("/clock", func(w http.ResponseWriter, r *http.Request) {
		zone, err := time.LoadLocation(r.URL.RawQuery)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprint(w, time.Date(2024, 7, 1, 12, 0, 0, 0, time.UTC).In(zone).Format("2006-01-02 15:04 MST"))
	})
	mux.HandleFunc("/kind", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, mime.TypeByExtension(r.URL.RawQuery))
	})
	mux.HandleFunc("/export/", func(w http.ResponseWriter, r *http.Request) {
		switch strings.TrimPrefix(r.URL.Path, "/export/") {
		case "json":
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(dishes)
		case "xml":
			_ = xml.NewEncoder(w).Encode(dishes)
		case "csv":
			out := csv.NewWriter(w)
			for _, one := range dishes {
				_ = out.Write([]string{one.Name, fmt.Sprintf("%.2f", one.Price)})
			}
			out.Flush()
		default:
			http.NotFound(w, r)
		}
	})
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		out := gzip.NewWriter(w)
		fmt.Fprint(out, "leek")
		_ = out.Close()
	})
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		file, header, err := r.FormFile("file")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		kept, err := os.CreateTemp("", "upload")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		size, _ := io.Copy(kept, file)
		fmt.Fprintf(w, "%s %d %s", header.Filename, size, kept.Name()[:5])
	})
	mux.HandleFunc("/boom", func(http.ResponseWriter, *http.Request) { panic("the oven is on fire") })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		name := "home.html"
		if r.URL.Path != "/" {
			w.WriteHeader(http.StatusNotFound)
			name = "nothing.html"
		}
		_ = pages.ExecuteTemplate(w, name, map[string]any{"Dishes": dishes, "Path": r.URL.Path})
	})
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if reason := recover(); reason != nil {
				http.Error(w, fmt.Sprint("fire: ", reason), http.StatusInternalServerError)
			}
		}()
		mux.ServeHTTP(w, r)
	})
	log.Fatal(http.ListenAndServe(":8000", guarded))
}
