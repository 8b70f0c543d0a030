#include "profile.h"

#include <fstream>
#include <sstream>

namespace lumen {

bool readProfile(const std::string &path, Profile &profile, std::string &error) {
    std::ifstream file(path);
    if (!file) {
        error = "cannot open profile " + path;
        return false;
    }
    std::string line;
    while (std::getline(file, line)) {
        if (line.empty() || line[0] == '#') continue;
        std::istringstream words(line);
        std::string key;
        int value = 0;
        if (words >> key >> value && key == "threshold") {
            profile.threshold = value;
        } else if (key == "smallest" && words) {
            profile.smallest = value;
        } else {
            error = "profile " + path + ": cannot understand `" + line + "`";
            return false;
        }
    }
    return true;
}

}  // namespace lumen
