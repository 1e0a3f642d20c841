// LOAD CSV: what a file becomes, and which files are out of reach.
#include "tests/cypher/harness.h"

#include <filesystem>
#include <fstream>
#include <sys/stat.h>

namespace nornic::cypher {
namespace {

using testing::Database;

class LoadCsv : public ::testing::Test {
protected:
    void SetUp() override {
        top_ = std::filesystem::path{::testing::TempDir()} /
               ("load_csv_" + std::to_string(::getpid()));
        std::filesystem::create_directories(top_ / "import" / "sub");
        db_.import_directory = (top_ / "import").string();
    }
    void TearDown() override { std::filesystem::remove_all(top_); }

    void write(const std::string& name, std::string_view text) {
        std::ofstream{top_ / name, std::ios::binary} << text;
    }

    std::filesystem::path top_;
    Database db_;
};

TEST_F(LoadCsv, ARowIsAListOfTexts) {
    write("import/a.csv", "1,Ann,\n2,\"Bob, \"\"B\"\"\",x y\r\n\n3,\"\",\"two\nlines\"");
    EXPECT_EQ(db_.run("LOAD CSV FROM 'file:///a.csv' AS row RETURN row").text(),
              "['1', 'Ann', null]\n"
              "['2', 'Bob, \"B\"', 'x y']\n"
              "['3', '', 'two\\nlines']\n");
}

TEST_F(LoadCsv, HeadersMakeMaps) {
    write("import/sub/b.csv", "\xEF\xBB\xBFid,name\n1,Ann\n2\n");
    EXPECT_EQ(db_.run("LOAD CSV WITH HEADERS FROM 'file:///sub/b.csv' AS row RETURN row").text(),
              "{id: '1', name: 'Ann'}\n{id: '2', name: null}\n");
    EXPECT_EQ(db_.run("LOAD CSV WITH HEADERS FROM 'file:///sub/b.csv' AS row "
                      "CREATE (n:P {id: toInteger(row.id)}) RETURN n.id")
                  .text(),
              "1\n2\n");
    write("import/empty.csv", "");
    EXPECT_EQ(db_.run("LOAD CSV WITH HEADERS FROM 'file:///empty.csv' AS row RETURN row").text(),
              "");
}

TEST_F(LoadCsv, TheTerminatorCanBeChosen) {
    write("import/c d.csv", "1;a,b\n2;c\n");
    EXPECT_EQ(
        db_.run("LOAD CSV FROM 'file:///c%20d.csv' AS row FIELDTERMINATOR ';' RETURN row").text(),
        "['1', 'a,b']\n['2', 'c']\n");
    write("import/t.csv", "1\t2\n");
    EXPECT_EQ(db_.run("LOAD CSV FROM $url AS row FIELDTERMINATOR '\\t' RETURN row",
                      Map{{"url", Value{"file:///t.csv"}}})
                  .text(),
              "['1', '2']\n");
}

TEST_F(LoadCsv, ManyRowsStream) {
    std::string text;
    for (int i = 0; i < 20'000; ++i) {
        text += std::to_string(i) + ",some text to make it longer\n";
    }
    write("import/many.csv", text);
    db_.memory_bytes_max = 512 * 1024;
    EXPECT_EQ(db_.run("LOAD CSV FROM 'file:///many.csv' AS row "
                      "RETURN count(*) AS n, sum(toInteger(row[0])) AS s")
                  .text(),
              "20000 | 199990000\n");
}

TEST_F(LoadCsv, NothingOutsideTheDirectoryIsReached) {
    write("secret.csv", "secret\n");
    std::filesystem::create_symlink(top_ / "secret.csv", top_ / "import" / "link.csv");
    std::filesystem::create_directory_symlink(top_, top_ / "import" / "up");
    ASSERT_EQ(::mkfifo((top_ / "import" / "pipe.csv").c_str(), 0600), 0);
    struct Case {
        const char* url;
        const char* expected;
    };
    for (const Case& c : {
             Case{"file:///../secret.csv", "points outside configured import directory"},
             Case{"file:///sub/../../secret.csv", "points outside configured import directory"},
             Case{"file:///%2e%2e/secret.csv", "points outside configured import directory"},
             Case{"file:///link.csv", "points outside configured import directory"},
             Case{"file:///up/secret.csv", "points outside configured import directory"},
             Case{"file:///pipe.csv",
                  "Couldn't load the external resource at: file:///pipe.csv ()"},
             Case{"file:///sub", "Couldn't load the external resource at: file:///sub ()"},
             Case{"file:///nope.csv",
                  "Couldn't load the external resource at: file:///nope.csv ()"},
             Case{"http://127.0.0.1/x.csv", "only file URLs are supported"},
             Case{"secret.csv", "only file URLs are supported"},
         }) {
        const auto a = db_.run("LOAD CSV FROM $url AS row RETURN row", Map{{"url", Value{c.url}}});
        ASSERT_TRUE(a.error) << c.url;
        EXPECT_EQ(a.error->code(), ErrorCode::kExternalResourceFailed) << c.url;
        EXPECT_NE(a.error->message().find(std::string{"Cannot load from URL '"} + c.url + "'"),
                  std::string::npos)
            << a.error->message();
        EXPECT_NE(a.error->message().find(c.expected), std::string::npos) << a.error->message();
    }
}

TEST_F(LoadCsv, AnOpenQuoteIsAnError) {
    write("import/q.csv", "1,\"open\n2,x\n");
    const auto a = db_.run("LOAD CSV FROM 'file:///q.csv' AS row RETURN row");
    ASSERT_TRUE(a.error);
    EXPECT_NE(a.error->message().find("quoted field is not closed"), std::string::npos)
        << a.error->message();
}

}  // namespace
}  // namespace nornic::cypher
